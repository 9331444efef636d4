"""A handle for one job: where it is, what became of it, and how to stop it."""

from __future__ import annotations

from sentq.contract import JobOutcome, JobStatus
from sentq.results.cancel import cancel_job
from sentq.results.reader import ResultReader

__all__ = ["Job"]


class Job:
    """A job that was sent. Costs nothing to keep; holds no connection and no text."""

    def __init__(self, job_id: str, results: ResultReader) -> None:
        self.id = job_id
        self._results = results

    def status(self) -> JobStatus:
        """Where the job is: queued, running, done, failed, cancelled or unknown.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return self._results.status(self.id)

    def result(self, timeout: float | None = None) -> JobOutcome:
        """Wait for the outcome: one entry a text, in the order sent.

        Args:
            timeout: Seconds to wait at most; None waits until the job ends.

        Raises:
            WaitTimeout: There was no outcome in time. The job goes on.
            UnknownJob, JobExpired: Redis knows nothing of the job (any more).
            JobCancelled: The job was cancelled before it was scored.
            JobFailed: The job failed as a whole.
            ResultsUnavailable: Redis cannot be reached. The job is not affected.
        """
        return self._results.wait(self.id, timeout_s=timeout)

    def cancel(self) -> bool:
        """Cancel the job unless it is being scored or has ended. Whoever waits for it is told.

        Returns:
            Whether it is cancelled, now or by somebody before.

        Raises:
            UnknownJob, JobExpired: Redis knows nothing of the job (any more).
            ResultsUnavailable: Redis did not answer.
        """
        return cancel_job(self._results, self.id)

    def __repr__(self) -> str:
        return f"Job({self.id!r})"
