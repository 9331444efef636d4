"""Read the outcomes of the jobs of a batch: one subscription, however many jobs it has, and the
list of places in the order in which jobs ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from sentq.errors import BatchTimeout, JobFailed
from sentq.results.batch import (
    BatchProgress,
    batch_keys,
    ended_places_steps,
    ids_of_batch_steps,
    progress_steps,
    unknown_batch,
)
from sentq.results.changes import Changes, Patience
from sentq.results.completed import Ended, ended_among
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader

__all__ = ["completed_in_batch", "ordered_in_batch", "wait_until_complete"]

#: How many outcomes one round trip reads.
_READ_JOBS: Final = 256

#: The ids of a batch that are kept in memory: so many pages of so many.
_PAGE_IDS: Final = 1024
_PAGES: Final = 64


def completed_in_batch(
    results: ResultReader, batch_id: str, *, timeout_s: float | None
) -> Iterator[tuple[str, Ended]]:
    """Yield each job of a batch with its outcome, or its error, in the order in which they ended,
    until the batch is complete.

    Args:
        results: Reads the outcomes.
        batch_id: The batch. It may be open.
        timeout_s: Seconds to wait for the next one at most; None waits until one ends.

    Raises:
        BatchTimeout: No job ended in time.
        UnknownBatch: Redis has no such batch.
        ResultsUnavailable: Redis was not available for too long.
    """
    seen, is_complete, ids = 0, False, _BatchIds(results, batch_id)
    patience = Patience(timeout_s)
    with Changes(results) as changes:
        changes.subscribe(batch_keys(results, batch_id)[:1])
        while True:
            changes.drain()
            places = changes.run(partial(ended_places_steps, results, batch_id, seen, _READ_JOBS))
            if places:
                yield from changes.read(partial(_in_order, results, ids, places))
                seen += len(places)
                patience.begin()
            elif is_complete:
                return
            elif not (
                is_complete := changes.run(partial(progress_steps, results, batch_id)).is_complete
            ):
                _wait(changes, batch_id, patience)


def ordered_in_batch(
    results: ResultReader, batch_id: str, *, timeout_s: float | None
) -> Iterator[Ended]:
    """Yield the outcome of each job of a batch, or its error, in the order in which they were sent,
    until the batch is closed and has no more.

    Args:
        results: Reads the outcomes.
        batch_id: The batch. It may be open.
        timeout_s: Seconds to wait for each job at most, or for more jobs; None waits without end.

    Raises:
        BatchTimeout: The batch is open, and no more jobs came in time.
        UnknownBatch: Redis has no such batch.
        ResultsUnavailable: Redis was not available for too long.
    """
    seen, is_closed = 0, False
    reader = OrderedResults(results, timeout_s=timeout_s)
    with Changes(results) as changes:
        changes.subscribe(batch_keys(results, batch_id)[:1])
        while True:
            ids = changes.run(partial(ids_of_batch_steps, results, batch_id, seen, _PAGE_IDS))
            for job_id in ids:
                reader.expect(job_id)
            for _ in ids:
                yield results.run(reader.end_steps())
            seen += len(ids)
            if not ids and is_closed:
                return
            progress = changes.run(partial(progress_steps, results, batch_id))
            is_closed = progress.is_closed
            if not is_closed and progress.total <= seen:
                _wait(changes, batch_id, Patience(timeout_s))


def wait_until_complete(
    results: ResultReader, batch_id: str, *, timeout_s: float | None
) -> BatchProgress:
    """Wait until a batch is complete, and return its counts.

    Args:
        results: Reads the counts.
        batch_id: The batch. It may be open.
        timeout_s: Seconds to wait at most; None waits without end.

    Raises:
        BatchTimeout: It is not complete yet. The message says what it waits for.
        UnknownBatch: Redis has no such batch.
        ResultsUnavailable: Redis was not available for too long.
    """
    patience = Patience(timeout_s)
    with Changes(results) as changes:
        changes.subscribe(batch_keys(results, batch_id)[:1])
        while True:
            changes.drain()
            progress = changes.run(partial(progress_steps, results, batch_id))
            if progress.is_complete:
                return progress
            if patience.remaining_s <= 0:
                what = f"{progress.remaining:,} jobs have not ended"
                if not progress.is_closed:
                    what = f"it is open, and {what}"
                raise BatchTimeout(f"the batch {batch_id} is not complete: {what}", batch_id)
            changes.wait(patience.remaining_s)


def _wait(changes: Changes, batch_id: str, patience: Patience) -> None:
    if changes.wait(patience.remaining_s) is None and patience.remaining_s <= 0:
        raise BatchTimeout(f"no job of the batch {batch_id} ended in time", batch_id)


class _BatchIds:
    """The ids of the jobs of a batch by their places, some of them in memory."""

    def __init__(self, results: ResultReader, batch_id: str) -> None:
        self._results = results
        self._batch_id = batch_id
        self._pages: OrderedDict[int, list[str]] = OrderedDict()

    def of(self, place: int) -> str:
        """Return the id of the job at a place that the batch has."""
        number, offset = divmod(place, _PAGE_IDS)
        page = self._pages.get(number, [])
        if offset >= len(page):  # It is not in memory, or the batch was smaller then.
            page = self._results.run(
                ids_of_batch_steps(self._results, self._batch_id, number * _PAGE_IDS, _PAGE_IDS)
            )
            self._pages[number] = page
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        if offset >= len(page):
            raise unknown_batch(self._batch_id)
        self._pages.move_to_end(number)
        return page[offset]


def _in_order(
    results: ResultReader, ids: _BatchIds, places: Sequence[int]
) -> list[tuple[str, Ended]]:
    """Return the jobs at these places, which have ended, with their outcomes."""
    found = [ids.of(place) for place in places]
    ended = ended_among(results, found)
    return [(job_id, ended.get(job_id) or _retried(job_id)) for job_id in found]


def _retried(job_id: str) -> JobFailed:
    return JobFailed(f"job {job_id} failed, and was retried since; it is queued", job_id, "retried")
