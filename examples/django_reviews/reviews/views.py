"""Views that score a text at once, and views that save a review and have it scored."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_POST

from reviews.models import CustomerReview
from sentq import JobOutcome, JobStatus, Prediction
from sentq.contrib.django import get_async_client, get_client


@require_POST
def score_text(request: HttpRequest) -> HttpResponse:
    """Score the text in the request while the caller waits."""
    job = get_client().submit(request.body.decode(), deadline=10)
    return _response(job.result(timeout=10))


@require_POST
async def score_text_async(request: HttpRequest) -> HttpResponse:
    """Do the same in an asynchronous view: it occupies no thread while it waits."""
    job = await get_async_client().submit(request.body.decode(), deadline=10)
    return _response(await job.result(timeout=10))


@require_POST
def add_review(request: HttpRequest) -> HttpResponse:
    """Save the review in the request, and return at once."""
    review = CustomerReview.add(request.body.decode())
    place = reverse("review", args=[review.pk])
    return JsonResponse({"id": review.pk}, status=201, headers={"Location": place})


def show_review(_request: HttpRequest, pk: int) -> HttpResponse:
    """Show a review; read its outcome when it has one."""
    review = get_object_or_404(CustomerReview, pk=pk)
    if review.job_id and not review.label:
        job = get_client().job(review.job_id)
        if job.status() is JobStatus.DONE:
            (outcome,) = job.result(timeout=1).outcomes
            if isinstance(outcome, Prediction):
                review.save_outcome(outcome)
    return JsonResponse({"body": review.body, "label": review.label or None})


def _response(outcome: JobOutcome) -> HttpResponse:
    (first,) = outcome.outcomes
    if isinstance(first, Prediction):
        return JsonResponse({"label": first.label, "sentiment": first.sentiment})
    return JsonResponse({"error": first.message}, status=422)
