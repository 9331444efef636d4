"""*Try*: type a text, and see how it is scored."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sentq.contract import (
    DETAILS,
    MIXED_SENTIMENT,
    Detail,
    JobOutcome,
    Prediction,
    TextError,
)
from sentq.errors import InvalidInput, JobError, Overloaded, WaitTimeout
from sentq.gateway.console.forms import FormOf
from sentq.gateway.console.pages import HEADERS, fragment, page
from sentq.gateway.console.visitors import SignedIn, Visitor
from sentq.gateway.errors import Forbidden, RateLimited
from sentq.gateway.keys.owners import record_owner
from sentq.gateway.services import GatewayServices, Services

__all__ = ["add_to"]

#: How long a visitor waits for an outcome, in seconds. After that it is of no use.
_WAIT_S: Final = 20.0


async def show_trial(request: Request, services: Services, visitor: SignedIn) -> Response:
    """Show the form."""
    return _page(request, services, visitor, "", {"detail": DETAILS[0]})


async def score(
    request: Request, services: Services, visitor: SignedIn, fields: FormOf
) -> Response:
    """Score a text. A script gets the result alone, and a browser without it the page."""
    if not visitor.may_submit:
        raise Forbidden("this needs a key with the scope submit")
    text, detail = fields.text("text"), _detail(fields.text("detail"))
    values = await _scored(services, visitor, text, detail) if text.strip() else {}
    values |= {"detail": detail}
    if fields.text("part"):
        html = fragment("parts/result.html", text=text, **_complete(values))
        return HTMLResponse(html, headers=HEADERS)
    return _page(request, services, visitor, text, values)


def _detail(name: str) -> Detail | None:
    """Return which parts a visitor wants to see; None for none."""
    return next((detail for detail in DETAILS if detail == name), None)


async def _scored(
    services: GatewayServices, visitor: Visitor, text: str, detail: Detail | None
) -> dict[str, Any]:
    """Return what the page shows of the outcome of a text."""
    try:
        await visitor.take_text(services, text)
        job = await services.client.submit(text, deadline=_WAIT_S, detail=detail)
        await record_owner(services.client, job.id, visitor.key_id)
        values: dict[str, Any] = {"problem": "This gateway ends. Load the page again."}
        async with services.closing.interrupts():
            values = _values(job.id, await job.result(timeout=_WAIT_S))
    except WaitTimeout:
        return {"problem": f"There is no outcome after {_WAIT_S:.0f} s. Is a worker running?"}
    except RateLimited as error:
        return {"problem": f"{error.detail}. Wait for {error.retry_after_s} s."}
    except (InvalidInput, JobError, Overloaded) as error:
        return {"problem": str(error)}
    return values


def _values(job_id: str, outcome: JobOutcome) -> dict[str, Any]:
    first = outcome.outcomes[0]
    values: dict[str, Any] = {"job_id": job_id, "outcome": outcome}
    if isinstance(first, TextError):
        return values | {"problem": first.message}
    return values | {"prediction": first, "scores": _ordered_scores(first)}


def _ordered_scores(prediction: Prediction) -> list[tuple[str, float]]:
    return sorted(prediction.scores.items(), key=lambda each: -each[1])


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    names = ("problem", "job_id", "outcome", "prediction", "scores", "detail")
    return {"clear": MIXED_SENTIMENT} | {name: values.get(name) for name in names}


def _page(
    request: Request,
    services: GatewayServices,
    visitor: Visitor,
    text: str,
    values: dict[str, Any],
) -> Response:
    return page(
        request,
        visitor,
        "trial.html",
        text=text,
        details=DETAILS,
        max_chars=services.client.limits.chars_per_text,
        **_complete(values),
    )


def add_to(router: APIRouter) -> None:
    """Add the pages to a router."""
    router.get("/try")(show_trial)
    router.post("/try")(score)
