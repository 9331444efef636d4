"""Wait for the outcome of a job as long as a request may, and describe the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from sentq.aio import AsyncJob
from sentq.contract import JobOutcome, JobStatus
from sentq.contrib.problems import problem_of
from sentq.errors import JobCancelled, JobError, JobFailed, WaitTimeout
from sentq.gateway.closing import Closing
from sentq.gateway.documents import JobDocument, ProblemDocument
from sentq.gateway.services import GatewayServices

__all__ = ["has_ended", "job_document", "outcome_within"]

_ENDED: Final = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


def has_ended(status: JobStatus) -> bool:
    """Return whether a job of this status has ended."""
    return status in _ENDED


async def outcome_within(
    job: AsyncJob, wait_s: float, closing: Closing, request: Request
) -> JobOutcome | None:
    """Return the outcome of a job; None without one in time, or if the gateway ends or the client
    has gone.

    Raises:
        JobError: The job has ended without an outcome, or is not known.
        ResultsUnavailable: Redis is not available.
    """
    async with closing.interrupts(), _client_is_there(request):
        try:
            return await job.result(timeout=wait_s)
        except WaitTimeout:
            pass
    return None


@asynccontextmanager
async def _client_is_there(request: Request) -> AsyncIterator[None]:
    """Interrupt the block when the client has gone; go on after it, then."""
    wait = asyncio.timeout(None)

    async def watch() -> None:
        # The body was read; the next message but one at most says that the connection is closed.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        wait.reschedule(asyncio.get_running_loop().time())

    try:
        async with wait:
            watching = asyncio.create_task(watch(), name="sentq-gateway-client")
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not wait.expired():
            raise


async def job_document(
    services: GatewayServices, job: AsyncJob, wait_s: float = 0, request: Request | None = None
) -> JobDocument:
    """Describe a job, after a wait for its end if it has not ended.

    Args:
        services: What the gateway has.
        job: The job.
        wait_s: How long to wait, in seconds; 0 not to wait.
        request: The request that waits.

    Raises:
        UnknownJob, JobExpired: Redis has no document of the job, or no longer.
        ResultsUnavailable: Redis is not available.
    """
    found: JobOutcome | JobStatus | None = None
    try:
        if request is not None and wait_s > 0:
            found = await outcome_within(job, wait_s, services.closing, request)
        found = found or await services.client.look(job)
    except JobError as error:
        return _ended_document(job, error)
    if isinstance(found, JobOutcome):
        return JobDocument(id=job.id, status=JobStatus.DONE, outcome=found)
    due_at = await job.due_at() if found is JobStatus.SCHEDULED else None
    return JobDocument(id=job.id, status=found, due_at=due_at)


def _ended_document(job: AsyncJob, error: JobError) -> JobDocument:
    if not isinstance(error, (JobCancelled, JobFailed)):
        raise error  # There is no such job, or no longer.
    status = JobStatus.CANCELLED if isinstance(error, JobCancelled) else JobStatus.FAILED
    problem = ProblemDocument.model_validate(problem_of(error).document)
    return JobDocument(id=job.id, status=status, problem=problem)
