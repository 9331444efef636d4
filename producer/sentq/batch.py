"""The handle of a batch: its progress, its outcomes, its cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from sentq.contract import Detail, JobOutcome, check_timeout
from sentq.errors import JobError
from sentq.job import Job
from sentq.results.batch import (
    BatchProgress,
    cancel_batch_steps,
    ids_of_batch_steps,
    progress_steps,
)
from sentq.results.batch_outcomes import BatchReader
from sentq.results.reader import ResultReader

__all__ = ["AddJobs", "Batch"]

#: How many ids of jobs one round trip reads.
_PAGE_IDS: Final = 1024


class AddJobs(Protocol):
    """Adds jobs to the batch of an id, as `Batch.add` does."""

    def __call__(
        self,
        batch_id: str,
        jobs: Iterable[str | Sequence[str]],
        /,
        *,
        bulk: bool,
        deadline: float | None,
        local_only: bool,
        detail: Detail | None,
        timeout: float | None,
        model: str | None,
    ) -> int: ...


class Batch:
    """Any number of jobs, up to a million, as one thing. The handle holds no connection and no
    text.

    Redis keeps a batch for as long as an outcome (`result_ttl_s`) after its last change.
    """

    def __init__(
        self,
        batch_id: str,
        results: ResultReader,
        *,
        add: AddJobs,
        close: Callable[[str], None],
    ) -> None:
        self.id = batch_id
        self._results = results
        self._add = add
        self._close = close

    def add(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = True,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        timeout: float | None = None,
        model: str | None = None,
    ) -> int:
        """Send jobs that belong to the batch, hundreds in a round trip; return how many there were.

        Args:
            jobs: The texts of each job, as `Client.submit` takes them. At most 500 are read ahead.
            bulk: Use the bulk queue. Workers take from it only while no single job waits.
            deadline, local_only, detail, model: As for `Client.submit`, for all jobs.
            timeout: Seconds to wait for capacity, each time the queue is full; None waits without
                end.

        Raises:
            InvalidInput: A job breaks a limit. Of a list of jobs, nothing was sent; of others, the
                jobs of some steps before it.
            BatchClosed, BatchTooLarge, UnknownBatch: The batch cannot take a job.
            Overloaded, BrokerUnavailable: As for `Client.submit`. The jobs before are in the batch.
        """
        return self._add(
            self.id,
            jobs,
            bulk=bulk,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            timeout=timeout,
            model=model,
        )

    def close(self) -> None:
        """Say that the batch has all of its jobs. It is complete as soon as all have ended.

        Raises:
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis did not answer.
        """
        self._close(self.id)

    def progress(self) -> BatchProgress:
        """Return how many jobs were sent, and how many have ended in which way. It takes one round
        trip, and the same time for a batch of any size.

        Raises:
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis did not answer.
        """
        return self._results.run(progress_steps(self._results, self.id))

    def wait(self, timeout: float | None = None) -> BatchProgress:
        """Wait until the batch is complete: it is closed, and all of its jobs have ended.

        Args:
            timeout: Seconds to wait at most; None waits without end.

        Raises:
            InvalidInput: `timeout` is no number.
            BatchTimeout: It is not complete yet.
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis is not available. The batch is not affected.
        """
        return self._results.run(self._reader(timeout).complete_steps())

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that were sent so far, in the order in which they were sent.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        first, ids = 0, [""]
        while ids:
            ids = self._results.run(ids_of_batch_steps(self._results, self.id, first, _PAGE_IDS))
            first += len(ids)
            for job_id in ids:
                yield Job(job_id, self._results)

    def results(self, timeout: float | None = None) -> Iterator[JobOutcome | JobError]:
        """Wait for the outcomes of all jobs, in the order in which they were sent.

        A job without an outcome does not stop the others: its error takes its place. If the batch
        is open, it waits for further jobs, too.

        Args:
            timeout: Seconds to wait for each job at most; None waits until it ends.

        Raises:
            InvalidInput: `timeout` is no number.
            BatchTimeout: The batch is open, and no further job came in time.
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis is not available. The jobs are not affected.
        """
        reader = self._reader(timeout)
        return iter(lambda: self._results.run(reader.ordered_steps()), None)

    def as_completed(
        self, timeout: float | None = None
    ) -> Iterator[tuple[Job, JobOutcome | JobError]]:
        """Yield each job with its outcome, or with its error, in the order in which they ended,
        until the batch is complete.

        It begins with those that have ended already, also in another process.

        Args:
            timeout: Seconds to wait for the next one at most; None waits until one ends.

        Raises:
            InvalidInput: `timeout` is no number.
            BatchTimeout: No job ended in time. The batch is not affected.
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis is not available. The jobs are not affected.
        """
        reader = self._reader(timeout)
        chunks = iter(lambda: self._results.run(reader.ended_steps()), [])
        return (
            (Job(job_id, self._results), outcome) for ended in chunks for job_id, outcome in ended
        )

    def cancel(self) -> int:
        """Close the batch, and cancel its jobs, except those that run or have ended. Readers that
        wait for them are notified.

        Returns:
            How many jobs were cancelled by this call.

        Raises:
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis did not answer. Repeat it: workers score none of the jobs that
                are left, but those have no outcome before.
        """
        return self._results.run(cancel_batch_steps(self._results, self.id))

    def _reader(self, timeout: float | None) -> BatchReader:
        return BatchReader(self._results, self.id, timeout_s=check_timeout(timeout))

    def __repr__(self) -> str:
        return f"Batch({self.id!r})"
