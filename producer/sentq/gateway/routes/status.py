"""`GET /v1/status`: the backlog, the pace of the workers. And the probes of the gateway itself."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from sentq.errors import BrokerUnavailable
from sentq.gateway.documents import StatusDocument
from sentq.gateway.keys.admission import Reader
from sentq.gateway.openapi import OF_CALLER, problems
from sentq.gateway.services import Services

__all__ = ["router"]

router: Final = APIRouter(tags=["service"])


@router.get(
    "/v1/status",
    summary="Ask for the backlog and the workers",
    response_model=StatusDocument,
    response_model_exclude_unset=True,
    responses=problems(*OF_CALLER, 500, 503),
)
async def read_status(services: Services, caller: Reader, response: Response) -> StatusDocument:
    """Return how much waits, and how long that takes. Keys with the scope `admin` also get the
    reports of the workers, and the Hub's budget."""
    response.headers["Cache-Control"] = "no-store"
    status = await services.client.service_status()
    of_admins = {"workers", "dead_letters", "disagreements", "hub_budget"}
    hidden = set() if caller.is_admin else of_admins
    return StatusDocument.model_validate(status.model_dump(exclude=hidden))


@router.get(
    "/livez",
    summary="Ask whether the gateway answers",
    response_class=PlainTextResponse,
    responses={200: {"description": "It answers"}},
)
async def live() -> PlainTextResponse:
    """Answer, without Redis."""
    return PlainTextResponse("live\n", headers={"Cache-Control": "no-store"})


@router.get(
    "/readyz",
    summary="Ask whether the gateway takes requests",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "It takes requests"},
        503: {"description": "It ends, or Redis does not answer", "content": {"text/plain": {}}},
    },
)
async def ready(services: Services) -> PlainTextResponse:
    """Answer with status 200 if Redis does, and the gateway does not end."""
    headers = {"Cache-Control": "no-store"}
    if services.closing.has_begun:
        return PlainTextResponse("the gateway ends\n", 503, headers)
    try:
        await services.client.backlog()
    except BrokerUnavailable:
        return PlainTextResponse("Redis does not answer\n", 503, headers)
    return PlainTextResponse("ready\n", headers=headers)
