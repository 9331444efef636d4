"""The handle of a job in an event loop: its status, its outcome, its cancellation."""

from __future__ import annotations

from datetime import datetime

from sentq.aio.driver import Drivers
from sentq.contract import JobOutcome, JobStatus, check_timeout
from sentq.job import JobHandle
from sentq.results.cancel import cancel_steps
from sentq.results.steps import ResultSteps
from sentq.wire.steps import Deadline

__all__ = ["AsyncJob"]


class AsyncJob(JobHandle):
    """A job that was sent. The handle holds no connection and no text."""

    def __init__(self, job_id: str, results: ResultSteps, drivers: Drivers) -> None:
        self.id = job_id
        self._results = results
        self._drivers = drivers

    async def status(self) -> JobStatus:
        """Return the status: scheduled, queued, running, done, failed, cancelled or unknown.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return await self._drivers.current().run(self._results.status_steps(self.id))

    async def due_at(self) -> datetime | None:
        """Return when the job is due that was sent with `delay` or `at`, in UTC; None as soon as a
        worker has started it or it was cancelled, and for other jobs.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return await self._drivers.current().run(self._results.due_at_steps(self.id))

    async def result(self, timeout: float | None = None) -> JobOutcome:  # noqa: ASYNC109 - as in Job
        """Wait for the outcome: one entry for each text, in their order.

        Args:
            timeout: Seconds to wait at most; None waits until the job ends.

        Raises:
            InvalidInput: `timeout` is no number.
            WaitTimeout: There was no outcome in time. The job is not affected. If it is scheduled,
                the message says for when.
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            JobCancelled: The job was cancelled before it was scored.
            JobFailed: The job failed as a whole.
            ResultsUnavailable: Redis is not available. The job is not affected.
        """
        deadline = Deadline(check_timeout(timeout))
        return await self._drivers.current().run(self._results.wait_steps(self.id, deadline))

    async def cancel(self) -> bool:
        """Cancel the job unless it runs or has ended. Readers that wait for it are notified.

        Returns:
            Whether the job is cancelled, by this call or an earlier one.

        Raises:
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            ResultsUnavailable: Redis did not answer.
        """
        return await self._drivers.current().run(cancel_steps(self._results, self.id))
