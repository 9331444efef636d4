"""Add any number of jobs to a batch, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from sentq.errors import BrokerUnavailable, Overloaded, SentqError
from sentq.results.batch import progress_steps
from sentq.results.steps import ResultSteps
from sentq.sending.batch import BatchStep, PlaceTaken
from sentq.sending.capacity import capacity_steps
from sentq.sending.sender import Sender, SendOptions
from sentq.wire.batches import BatchPlace
from sentq.wire.steps import Steps

__all__ = ["BatchSender"]

#: How many jobs are read ahead, checked, and sent together.
_JOBS_PER_STEP: Final = 500

_Jobs = Sequence[Sequence[str]]


class BatchSender:
    """Adds jobs to batches, in the order given.

    Args:
        sender: Sends them.
        results: The Redis in which the batches are.
        queue: The queue of the jobs.
        options: The options of the jobs.
        timeout_s: Seconds to wait for capacity of the queue; None waits without end.
    """

    def __init__(
        self,
        sender: Sender,
        results: ResultSteps,
        *,
        queue: str,
        options: SendOptions,
        timeout_s: float | None,
    ) -> None:
        self._sender = sender
        self._results = results
        self._queue = queue
        self._options = options
        self._timeout_s = timeout_s

    def add_steps(
        self,
        batch_id: str,
        jobs: Iterable[Sequence[str]],
        *,
        first: int | None = None,
        closes: bool = False,
        is_exact: bool = False,
    ) -> Steps[int]:
        """Add jobs of checked texts; return how many there were.

        Args:
            batch_id: The batch.
            jobs: At most 500 are read ahead.
            first: How many jobs the batch has; None asks Redis.
            closes: Whether the batch is closed with the last one.
            is_exact: Whether the jobs must come right after the `first` ones, so that nothing is
                sent if another sender has added some.

        Raises:
            PlaceTaken: Another sender has, and `is_exact`.
            BatchClosed, BatchTooLarge, UnknownBatch: The batch cannot take a job.
            Overloaded, BrokerUnavailable: There was no capacity for a job, or no Redis.
            InvalidInput: Reading `jobs` raised it.
            The `batch_id` of each names the batch, which has the jobs before.
        """
        count = 0
        try:
            if first is None:
                first = (yield from progress_steps(self._results, batch_id)).total
            place = BatchPlace(batch_id, first)
            for step, is_last in _steps(jobs):
                place = yield from self._send_steps(
                    step, place, closes=closes and is_last, is_exact=is_exact
                )
                count += len(step)
            if closes and not count:
                yield from self._sender.close_batch_steps(batch_id)
        except SentqError as error:
            error.batch_id = batch_id
            if isinstance(error, (BrokerUnavailable, Overloaded)):
                error.accepted = ()  # Of one step only; the batch knows all of them.
            raise
        return count

    def _send_steps(
        self, jobs: _Jobs, first: BatchPlace, *, closes: bool, is_exact: bool
    ) -> Steps[BatchPlace]:
        """Send one step; return the place after it."""
        left, place = jobs, first.place

        def send_steps() -> Steps[None]:
            nonlocal left, place
            step = BatchStep(BatchPlace(first.batch_id, place), closes)
            accepted: Sequence[str] = ()
            try:
                options = replace(self._options, step=step)
                accepted = yield from self._sender.send_steps(
                    left, queue=self._queue, options=options
                )
            except (Overloaded, PlaceTaken) as error:
                accepted = error.accepted
                raise
            finally:
                place += len(accepted)
                left = left[len(accepted) :]

        while left:
            try:
                yield from capacity_steps(send_steps, timeout_s=self._timeout_s)
            except PlaceTaken as error:
                if is_exact:
                    raise
                place = error.jobs
        return BatchPlace(first.batch_id, place)


def _steps(jobs: Iterable[Sequence[str]]) -> Iterator[tuple[_Jobs, bool]]:
    """Yield jobs in steps, and whether each step is the last one."""
    remaining = iter(jobs)
    step = list(islice(remaining, _JOBS_PER_STEP))
    while step:
        following = list(islice(remaining, _JOBS_PER_STEP))
        yield step, not following
        step = following
