"""Views of both kinds that score the text of a request."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from sentq.contrib.django import get_async_client, get_client

__all__ = ["urlpatterns"]


def score(request: HttpRequest) -> HttpResponse:
    """Score the body in a view that blocks."""
    job = get_client().submit(request.body.decode())
    return JsonResponse(job.result(timeout=10).model_dump(mode="json"))


async def score_async(request: HttpRequest) -> HttpResponse:
    """Score the body in an asynchronous view."""
    job = await get_async_client().submit(request.body.decode())
    return JsonResponse((await job.result(timeout=10)).model_dump(mode="json"))


def fail(_request: HttpRequest) -> HttpResponse:
    """Raise an error that is not one of sentq."""
    raise LookupError("not an error of sentq")


urlpatterns = [path("score", score), path("score-async", score_async), path("fail", fail)]
