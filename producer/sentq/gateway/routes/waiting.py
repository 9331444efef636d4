"""Wait for the outcome of a job as long as a request may, and describe the job."""

from __future__ import annotations

from typing import Final

from sentq.aio import AsyncJob
from sentq.contract import JobOutcome, JobStatus
from sentq.contrib.problems import problem_of
from sentq.errors import JobCancelled, JobError, JobFailed, WaitTimeout
from sentq.gateway.closing import Closing
from sentq.gateway.documents import JobDocument, ProblemDocument

__all__ = ["has_ended", "job_document", "outcome_within"]

_ENDED: Final = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


def has_ended(status: JobStatus) -> bool:
    """Return whether a job of this status has ended."""
    return status in _ENDED


async def outcome_within(job: AsyncJob, wait_s: float, closing: Closing) -> JobOutcome | None:
    """Return the outcome of a job; None without one in time, or if the gateway ends.

    Raises:
        JobError: The job has ended without an outcome, or is not known.
        ResultsUnavailable: Redis is not available.
    """
    async with closing.interrupts():
        try:
            return await job.result(timeout=wait_s)
        except WaitTimeout:
            pass
    return None


async def job_document(job: AsyncJob, wait_s: float, closing: Closing) -> JobDocument:
    """Describe a job, after a wait for its end if it has not ended.

    Raises:
        UnknownJob, JobExpired: Redis has no document of the job, or no longer.
        ResultsUnavailable: Redis is not available.
    """
    status = await job.status()
    if wait_s > 0 or has_ended(status) or status is JobStatus.UNKNOWN:
        # A job that has ended, or is not known, is read without a wait.
        try:
            outcome = await outcome_within(job, wait_s, closing)
        except JobError as error:
            return _ended_document(job, error)
        if outcome is not None:
            return JobDocument(id=job.id, status=JobStatus.DONE, outcome=outcome)
        status = await job.status()
    due_at = await job.due_at() if status is JobStatus.SCHEDULED else None
    return JobDocument(id=job.id, status=status, due_at=due_at)


def _ended_document(job: AsyncJob, error: JobError) -> JobDocument:
    if not isinstance(error, (JobCancelled, JobFailed)):
        raise error  # There is no such job, or no longer.
    status = JobStatus.CANCELLED if isinstance(error, JobCancelled) else JobStatus.FAILED
    problem = ProblemDocument.model_validate(problem_of(error).document)
    return JobDocument(id=job.id, status=status, problem=problem)
