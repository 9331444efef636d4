"""`/v1/jobs`: send a job, ask for it, cancel it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from sentq.aio import AsyncJob
from sentq.contract import JobStatus
from sentq.errors import UnknownJob
from sentq.gateway.bodies.json_body import json_body
from sentq.gateway.documents import JobBody, JobDocument
from sentq.gateway.errors import JobNotCancelled
from sentq.gateway.idempotency import IdempotencyHeader, one_attempt
from sentq.gateway.keys.admission import Reader, Sender
from sentq.gateway.keys.owners import check_owner, record_owner
from sentq.gateway.openapi import OF_CALLER, body_of, problems, with_headers
from sentq.gateway.routes.prefer import Preference, PreferHeader, preference_of
from sentq.gateway.routes.waiting import job_document
from sentq.gateway.services import GatewayServices, Services
from sentq.wire.ids import is_uuid

__all__ = ["JobOfPath", "accepted", "job_of_path", "path_of", "router"]

router: Final = APIRouter(tags=["jobs"])

_JSON: Final = "application/json"


def path_of(job: AsyncJob) -> str:
    """Return where a client asks for a job."""
    return f"/v1/jobs/{job.id}"


async def accepted(
    services: GatewayServices, document: JobDocument, preference: Preference
) -> Response:
    """Return the response for a job that was accepted and has no outcome yet."""
    headers = {
        "Location": f"/v1/jobs/{document.id}",
        "Retry-After": str(await services.client.ask_again_s()),
        **preference.headers,
    }
    return Response(document.to_json(), status_code=202, headers=headers, media_type=_JSON)


async def job_of_path(
    services: Services,
    caller: Reader,
    job_id: Annotated[
        str,
        Path(
            description="The id of a job, as `Location` has it.",
            json_schema_extra={"format": "uuid"},
        ),
    ],
) -> AsyncJob:
    """Return the job that a path names.

    Raises:
        UnknownJob, JobExpired: It names none, or one that the caller may not read.
    """
    if not is_uuid(job_id):
        raise UnknownJob("the path has no id of a job: it is a UUID in lower case", job_id)
    if not caller.is_admin:
        await check_owner(services.client, job_id, caller.key_id)
    return services.client.job(job_id)


JobOfPath = Annotated[AsyncJob, Depends(job_of_path)]


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Send a job, and return at once",
    response_model=JobDocument,
    responses={
        202: with_headers("The job was accepted", "Location", "Retry-After", "Prefer"),
        **problems(*OF_CALLER, 400, 408, 409, 413, 415, 422, 500, 503),
    },
    openapi_extra=body_of(JobBody),
)
async def send_job(
    services: Services,
    caller: Sender,
    body: Annotated[JobBody, Depends(json_body(JobBody))],
    prefer: PreferHeader = None,
    idempotency_key: IdempotencyHeader = None,
) -> Response:
    """Accept texts to be scored. `Location` is where to ask for the outcomes, and `Retry-After`
    when they are likely to be there."""
    preference = preference_of(prefer, default_s=0, max_s=0)
    async with one_attempt(
        services.client,
        caller.key_id,
        idempotency_key,
        "job",
        content=lambda: body.model_dump_json().encode(),
        lasts_s=0,
    ) as key:
        then = await services.webhook(
            body.callback_url, owner=caller.key_id, outcomes=body.callback_outcomes
        )
        await caller.take_texts(body.texts)
        job = await services.client.submit(
            body.texts,
            bulk=body.bulk,
            key=key,
            deadline=body.deadline_s,
            local_only=body.local_only,
            detail=body.detail,
            delay=body.delay_s,
            then=then,
            model=body.model,
        )
        await record_owner(services.client, job.id, caller.key_id, delay_s=body.delay_s or 0)
    status = JobStatus.SCHEDULED if body.delay_s else JobStatus.QUEUED
    applied = Preference(0, preference.applied if preference.applied == "respond-async" else "")
    return await accepted(services, JobDocument(id=job.id, status=status), applied)


@router.get(
    "/v1/jobs/{job_id}",
    summary="Ask for a job",
    response_model=JobDocument,
    responses={
        200: with_headers("The job, with its outcomes if it is done", "Retry-After", "Prefer"),
        **problems(*OF_CALLER, 404, 410, 422, 500, 503),
    },
)
async def read_job(
    request: Request, services: Services, job: JobOfPath, prefer: PreferHeader = None
) -> Response:
    """Return the status of a job, and its outcomes if it is done. With `Prefer: wait=N` the request
    waits for its end."""
    max_s = services.settings.max_wait_s
    preference = preference_of(prefer, default_s=0, max_s=max_s)
    document = await job_document(services, job, preference.wait_s, request)
    headers = preference.headers
    if document.outcome is None and document.problem is None:
        headers["Retry-After"] = str(await services.client.ask_again_s())
    return _json(document, headers)


@router.delete(
    "/v1/jobs/{job_id}",
    summary="Cancel a job",
    response_model=JobDocument,
    responses=problems(*OF_CALLER, 404, 409, 410, 500, 503),
)
async def cancel_job(services: Services, job: JobOfPath) -> Response:
    """Cancel a job that no worker has started. It may be repeated."""
    if not await job.cancel():
        raise JobNotCancelled("the job runs or has ended: ask for it")
    return _json(await job_document(services, job), {})


def _json(document: JobDocument, headers: dict[str, str]) -> Response:
    headers["Cache-Control"] = "no-store"
    return Response(document.to_json(), headers=headers, media_type=_JSON)
