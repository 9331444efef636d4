"""`GET /v1/jobs/{id}/events`: what becomes of a job, as server-sent events.

    event: status            each time the status changes, and at first
    data: {"id": …, "status": "running"}

    event: end               when the job has ended; then the stream ends
    data: {"id": …, "status": "done", "outcome": …}

Lines that begin with a colon say nothing: proxies close connections on which nothing is sent. Each
event describes the whole job, so a client that connects again, to any gateway, has missed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from sentq.aio import AsyncJob
from sentq.contract import JobStatus
from sentq.errors import JobError, ResultsUnavailable
from sentq.gateway.documents import JobDocument
from sentq.gateway.openapi import OF_CALLER, problems
from sentq.gateway.routes.jobs import JobOfPath
from sentq.gateway.routes.waiting import has_ended, job_document
from sentq.gateway.services import GatewayServices, Services

__all__ = ["router"]

router: Final = APIRouter(tags=["jobs"])

_EVENT_STREAM: Final = "text/event-stream"

#: After so many milliseconds a browser connects again.
_RETRY: Final = b"retry: 2000\n\n"

_HEARTBEAT: Final = b": nothing new\n\n"

#: The pause before Redis is asked again that did not answer, in seconds.
_OUTAGE_PAUSE_S: Final = 2.0

_HEADERS: Final = {
    "Cache-Control": "no-store",
    # nginx would keep events back until it has some kilobytes.
    "X-Accel-Buffering": "no",
}


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `status` with each change, `end` as the last one. "
            "The data of each is a job, as `GET /v1/jobs/{job_id}` returns it.",
            "content": {_EVENT_STREAM: {}},
        },
        **problems(*OF_CALLER, 404, 410, 500, 503),
    },
)
async def follow_job(services: Services, job: JobOfPath) -> StreamingResponse:
    """Send an event each time the status of the job changes. The stream ends with the job."""
    first = await job_document(services, job)
    events = _events(services, job, first)
    return StreamingResponse(events, media_type=_EVENT_STREAM, headers=_HEADERS)


async def _events(
    services: GatewayServices, job: AsyncJob, document: JobDocument
) -> AsyncGenerator[bytes, None]:
    yield _RETRY
    while not has_ended(document.status):
        yield _event("status", document)
        status = document.status
        while status is document.status:
            if services.closing.has_begun:
                return
            try:
                status = await _next_status(services, job, status)
            except ResultsUnavailable:
                await asyncio.sleep(_OUTAGE_PAUSE_S)
            if status is document.status:
                yield _HEARTBEAT
        try:
            document = await job_document(services, job)
        except (JobError, ResultsUnavailable):
            return  # The job has expired, or Redis is away. A client that connects again is told.
    yield _event("end", document)


async def _next_status(services: GatewayServices, job: AsyncJob, known: JobStatus) -> JobStatus:
    """Return the next status of a job; the known one if it stays for as long as a heartbeat, or the
    gateway ends."""
    async with services.closing.interrupts():
        return await services.client.next_status(job, known, services.settings.heartbeat_s)
    return known


def _event(name: str, document: JobDocument) -> bytes:
    return f"event: {name}\ndata: {document.to_json()}\n\n".encode()
