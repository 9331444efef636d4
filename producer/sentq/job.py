"""The handle of a job: its status, its outcome, its cancellation."""

from __future__ import annotations

from datetime import datetime

from sentq.contract import JobOutcome, JobStatus, check_timeout
from sentq.errors import InvalidInput
from sentq.results.cancel import cancel_steps
from sentq.results.reader import ResultReader

__all__ = ["Job", "JobHandle", "id_of"]


class JobHandle:
    """The handle of a job that was sent. It holds no connection and no text.

    Attributes:
        id: The job's id. Each kind of handle sets it itself: thousands are made in a call.
    """

    id: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


def id_of(job: object) -> str:
    """Return the id of a job.

    Raises:
        InvalidInput: It is neither a handle nor a string.
    """
    found = job.id if isinstance(job, JobHandle) else job
    if not isinstance(found, str):
        raise InvalidInput(f"a job is a Job or the id of one, not {type(found).__name__}")
    return found


class Job(JobHandle):
    """A job that was sent. The handle holds no connection and no text."""

    def __init__(self, job_id: str, results: ResultReader) -> None:
        self.id = job_id
        self._results = results

    def status(self) -> JobStatus:
        """Return the status: scheduled, queued, running, done, failed, cancelled or unknown.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return self._results.status(self.id)

    def due_at(self) -> datetime | None:
        """Return when the job is due that was sent with `delay` or `at`, in UTC; None as soon as a
        worker has started it or it was cancelled, and for other jobs.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return self._results.run(self._results.due_at_steps(self.id))

    def result(self, timeout: float | None = None) -> JobOutcome:
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
        return self._results.wait(self.id, timeout_s=check_timeout(timeout))

    def cancel(self) -> bool:
        """Cancel the job unless it runs or has ended. Readers that wait for it are notified.

        Returns:
            Whether the job is cancelled, by this call or an earlier one.

        Raises:
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            ResultsUnavailable: Redis did not answer.
        """
        return self._results.run(cancel_steps(self._results, self.id))
