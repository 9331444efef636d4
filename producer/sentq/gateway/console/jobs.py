"""*Jobs*: look a job or a batch up by its id, and see the batches that were uploaded last."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sentq.contract import JobStatus, Prediction
from sentq.errors import JobError, UnknownBatch, UnknownJob
from sentq.gateway.batches.recent import last_batches
from sentq.gateway.batches.records import BatchRecords
from sentq.gateway.console.audit import record_action
from sentq.gateway.console.forms import FormOf
from sentq.gateway.console.pages import HOME, page, redirect
from sentq.gateway.console.visitors import SignedIn, Visitor
from sentq.gateway.documents import JobDocument
from sentq.gateway.errors import BatchExpired
from sentq.gateway.keys.owners import check_owner
from sentq.gateway.routes.waiting import job_document
from sentq.gateway.services import GatewayServices, Services
from sentq.results.batch import BatchProgress
from sentq.wire.ids import is_uuid

__all__ = ["add_to"]

#: How many batches the page lists, and how many outcomes of a job.
_BATCHES: Final = 20
_OUTCOMES: Final = 256

_PATH: Final = f"{HOME}/jobs"


async def show_jobs(
    request: Request,
    services: Services,
    visitor: SignedIn,
    id: str = "",  # noqa: A002 - the field
) -> Response:
    """Show the form, what it has found, and the last batches."""
    job_id = id.strip().lower()
    job: JobDocument | None = None
    batch: BatchProgress | None = None
    problem = ""
    if job_id and not is_uuid(job_id):
        problem = "This is no id of a job or a batch: an id is a UUID."
    elif job_id:
        job = await _find_job(services, visitor, job_id)
        batch = None if job else await _find_batch(services, visitor, job_id)
        if job is None and batch is None:
            problem = "There is no such job or batch that your key may see, or no longer."
    return page(
        request,
        visitor,
        "jobs.html",
        id=job_id,
        job=job,
        texts=_texts_of(job),
        batch=batch,
        batches=await _last_batches(services, visitor),
        problem=problem,
        is_open=_is_open(job, batch),
    )


async def cancel_job(services: Services, visitor: SignedIn, fields: FormOf) -> Response:
    """Cancel a job that no worker has started."""
    job_id = fields.text("id")
    if not is_uuid(job_id):
        raise UnknownJob("the form has no id of a job", job_id)
    if not visitor.is_admin:
        await check_owner(services.client, job_id, visitor.key_id)
    is_cancelled = await services.client.job(job_id).cancel()
    result = "cancelled" if is_cancelled else "not cancelled: it runs or has ended"
    await record_action(services.client, visitor, "cancel job", job_id, result)
    return redirect(f"{_PATH}?id={job_id}")


async def _find_job(services: GatewayServices, visitor: Visitor, job_id: str) -> JobDocument | None:
    try:
        if not visitor.is_admin:
            await check_owner(services.client, job_id, visitor.key_id)
        return await job_document(services, services.client.job(job_id))
    except JobError:
        return None


async def _find_batch(
    services: GatewayServices, visitor: Visitor, batch_id: str
) -> BatchProgress | None:
    try:
        records = BatchRecords(services.client, batch_id)
        await records.check_owner(visitor.key_id, is_admin=visitor.is_admin)
        return await services.client.batch_by_id(batch_id).progress()
    except (UnknownBatch, BatchExpired):
        return None


async def _last_batches(services: GatewayServices, visitor: Visitor) -> list[BatchProgress]:
    owner = None if visitor.is_admin else visitor.key_id
    ids = await last_batches(services.client, owner, _BATCHES)
    # Together: they share the round trips.
    found = await asyncio.gather(*(_find_batch(services, visitor, each) for each in ids))
    return [batch for batch in found if batch is not None]


def _texts_of(job: JobDocument | None) -> list[dict[str, object]]:
    """Return a row for each text of a job. No row has the text."""
    if job is None or job.outcome is None:
        return []
    return [
        {"label": each.label, "score": each.score, "sentiment": each.sentiment, "error": ""}
        if isinstance(each, Prediction)
        else {"label": "", "score": None, "sentiment": None, "error": each.message}
        for each in job.outcome.outcomes[:_OUTCOMES]
    ]


def _is_open(job: JobDocument | None, batch: BatchProgress | None) -> bool:
    """Return whether the page is worth loading again."""
    going = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SCHEDULED)
    return (job is not None and job.status in going) or (
        batch is not None and not batch.is_complete
    )


def add_to(router: APIRouter) -> None:
    """Add the pages to a router."""
    router.get("/jobs")(show_jobs)
    router.post("/jobs/cancel")(cancel_job)
