"""`POST /v1/score`: score texts while the client waits."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from sentq.contract import JobOutcome, JobStatus
from sentq.gateway.bodies.json_body import json_body
from sentq.gateway.documents import JobDocument, ScoreBody
from sentq.gateway.idempotency import IdempotencyHeader, one_attempt
from sentq.gateway.keys.admission import Sender
from sentq.gateway.keys.owners import record_owner
from sentq.gateway.openapi import OF_CALLER, body_of, problems, with_headers
from sentq.gateway.routes.jobs import accepted, path_of
from sentq.gateway.routes.prefer import PreferHeader, preference_of
from sentq.gateway.routes.waiting import outcome_within
from sentq.gateway.services import Services

__all__ = ["router"]

router: Final = APIRouter(tags=["jobs"])


@router.post(
    "/v1/score",
    summary="Score texts, and wait for the outcomes",
    response_model=JobOutcome,
    responses={
        200: with_headers("The outcomes, in the order of the texts", "Location", "Prefer"),
        202: with_headers(
            "There are no outcomes yet: ask for the job", "Location", "Retry-After", "Prefer"
        )
        | {"model": JobDocument},
        **problems(*OF_CALLER, 400, 408, 409, 413, 415, 422, 500, 502, 503),
    },
    openapi_extra=body_of(ScoreBody),
)
async def score(
    request: Request,
    services: Services,
    caller: Sender,
    body: Annotated[ScoreBody, Depends(json_body(ScoreBody))],
    prefer: PreferHeader = None,
    idempotency_key: IdempotencyHeader = None,
) -> Response:
    """Texts in, outcomes out, in the same order. The request waits for some seconds, or as long as
    `Prefer: wait=N` says. If there are no outcomes by then, the job goes on, the response is that
    of `POST /v1/jobs`, and `Location` is where to ask for the outcomes."""
    settings = services.settings
    preference = preference_of(prefer, default_s=settings.default_wait_s, max_s=settings.max_wait_s)
    async with one_attempt(
        services.client,
        caller.key_id,
        idempotency_key,
        "score",
        content=lambda: body.model_dump_json().encode(),
        lasts_s=preference.wait_s,
    ) as key:
        await caller.take_texts(body.texts)
        job = await services.client.submit(
            body.texts,
            key=key,
            deadline=body.deadline_s,
            local_only=body.local_only,
            detail=body.detail,
            model=body.model,
        )
        await record_owner(services.client, job.id, caller.key_id)
        outcome = None
        if preference.wait_s:
            outcome = await outcome_within(job, preference.wait_s, services.closing, request)
    if outcome is None:
        document = JobDocument(id=job.id, status=JobStatus.QUEUED)
        return await accepted(services, document, preference)
    headers = {"Location": path_of(job), **preference.headers}
    # FastAPI would validate the outcome once more.
    return Response(outcome.model_dump_json(), headers=headers, media_type="application/json")
