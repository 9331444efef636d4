"""The handle of a batch in an event loop: its progress, its outcomes, its cancellation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

from sentq.aio.driver import Drivers
from sentq.aio.job import AsyncJob
from sentq.contract import Detail, JobOutcome, check_timeout
from sentq.errors import JobError
from sentq.results.batch import (
    BatchProgress,
    cancel_batch_steps,
    ids_of_batch_steps,
    progress_steps,
)
from sentq.results.batch_outcomes import BatchReader
from sentq.results.reader import ResultReader
from sentq.sending.submitter import Submitter

__all__ = ["AsyncBatch"]

#: How many ids of jobs one round trip reads.
_PAGE_IDS: Final = 1024


class AsyncBatch:
    """Any number of jobs, up to a million, as one thing. The names and promises are `Batch`'s."""

    def __init__(
        self, batch_id: str, results: ResultReader, submitter: Submitter, drivers: Drivers
    ) -> None:
        self.id = batch_id
        self._results = results
        self._submitter = submitter
        self._drivers = drivers

    async def add(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = True,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in Batch
        model: str | None = None,
    ) -> int:
        """Send jobs that belong to the batch, hundreds in a round trip; return how many there were.

        Args:
            jobs, bulk, deadline, local_only, detail, timeout, model: As for `Batch.add`.

        Raises:
            InvalidInput, BatchClosed, BatchTooLarge, UnknownBatch, Overloaded, BrokerUnavailable:
                As `Batch.add` does.
        """
        sender = self._submitter.batch_sender(
            bulk=bulk,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            timeout=timeout,
            model=model,
        )
        checked = self._submitter.checked_jobs(jobs, "add", detail)
        return await self._drivers.current().run(sender.add_steps(self.id, checked))

    async def close(self) -> None:
        """Say that the batch has all of its jobs. It is complete as soon as all have ended.

        Raises:
            UnknownBatch, ResultsUnavailable: As `Batch.close` does.
        """
        await self._drivers.current().run(self._submitter.close_batch_steps(self.id))

    async def progress(self) -> BatchProgress:
        """Return how many jobs were sent, and how many have ended in which way.

        Raises:
            UnknownBatch, ResultsUnavailable: As `Batch.progress` does.
        """
        return await self._drivers.current().run(progress_steps(self._results, self.id))

    async def wait(self, timeout: float | None = None) -> BatchProgress:  # noqa: ASYNC109 - as in Batch
        """Wait until the batch is complete: it is closed, and all of its jobs have ended.

        Args:
            timeout: Seconds to wait at most; None waits without end.

        Raises:
            InvalidInput, BatchTimeout, UnknownBatch, ResultsUnavailable: As `Batch.wait` does.
        """
        return await self._drivers.current().run(self._reader(timeout).complete_steps())

    async def jobs(self) -> AsyncGenerator[AsyncJob, None]:
        """Yield the jobs that were sent so far, in the order in which they were sent.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        first, ids = 0, [""]
        while ids:
            steps = ids_of_batch_steps(self._results, self.id, first, _PAGE_IDS)
            ids = await self._drivers.current().run(steps)
            first += len(ids)
            for job_id in ids:
                yield self._job(job_id)

    def results(self, timeout: float | None = None) -> AsyncGenerator[JobOutcome | JobError, None]:
        """Wait for the outcomes of all jobs, in the order in which they were sent.

        Args:
            timeout: Seconds to wait for each job at most; None waits until it ends.

        Raises:
            InvalidInput, BatchTimeout, UnknownBatch, ResultsUnavailable: As `Batch.results` does.
        """
        return self._ordered(self._reader(timeout))

    async def _ordered(self, reader: BatchReader) -> AsyncGenerator[JobOutcome | JobError, None]:
        while (outcome := await self._drivers.current().run(reader.ordered_steps())) is not None:
            yield outcome

    def as_completed(
        self, timeout: float | None = None
    ) -> AsyncGenerator[tuple[AsyncJob, JobOutcome | JobError], None]:
        """Yield each job with its outcome, or with its error, in the order in which they ended,
        until the batch is complete.

        Args:
            timeout: Seconds to wait for the next one at most; None waits until one ends.

        Raises:
            InvalidInput, BatchTimeout, UnknownBatch, ResultsUnavailable: As `Batch.as_completed`
                does.
        """
        return self._ended(self._reader(timeout))

    async def _ended(
        self, reader: BatchReader
    ) -> AsyncGenerator[tuple[AsyncJob, JobOutcome | JobError], None]:
        while ended := await self._drivers.current().run(reader.ended_steps()):
            for job_id, outcome in ended:
                yield self._job(job_id), outcome

    async def cancel(self) -> int:
        """Close the batch, and cancel its jobs, except those that run or have ended; return how
        many were cancelled by this call.

        Raises:
            UnknownBatch, ResultsUnavailable: As `Batch.cancel` does.
        """
        return await self._drivers.current().run(cancel_batch_steps(self._results, self.id))

    def _reader(self, timeout: float | None) -> BatchReader:
        return BatchReader(self._results, self.id, timeout_s=check_timeout(timeout))

    def _job(self, job_id: str) -> AsyncJob:
        return AsyncJob(job_id, self._results, self._drivers)

    def __repr__(self) -> str:
        return f"AsyncBatch({self.id!r})"
