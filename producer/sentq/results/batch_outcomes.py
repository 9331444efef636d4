"""Steps that read the outcomes of the jobs of a batch: one subscription, however many jobs it has,
and the list of places in the order in which jobs ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import redis

from sentq.errors import BatchTimeout, JobFailed, ResultsUnavailable
from sentq.results.batch import (
    BatchProgress,
    batch_keys,
    ended_places_steps,
    ids_of_batch_steps,
    progress_steps,
    unknown_batch,
)
from sentq.results.completed import Ended, ended_among_steps
from sentq.results.ordered import MOST_JOBS_READ, OrderedResults
from sentq.results.steps import Listen, ResultSteps, Subscribe
from sentq.wire.clock import CLOCK
from sentq.wire.steps import Deadline, Pause, Steps

__all__ = ["BatchReader"]

T = TypeVar("T")

#: How long a reader waits on its subscription before it reads again, how long Redis may be away,
#: and the pause until it is asked again.
_POLL_INTERVAL_S: Final = 2.0
_MAX_OUTAGE_S: Final = 30.0
_OUTAGE_PAUSE_S: Final = 0.2

_CONNECTION_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError, ResultsUnavailable)

#: How many outcomes one round trip reads.
_READ_JOBS: Final = 256

#: The ids of a batch that are kept in memory: so many pages of so many.
_PAGE_IDS: Final = 1024
_PAGES: Final = 64


class BatchReader:
    """Reads the outcomes of a batch. One caller at a time may use it.

    Args:
        results: The steps that read outcomes.
        batch_id: The batch. It may be open.
        timeout_s: Seconds that each of the steps waits at most; None waits without end.
        first: How many jobs, or ends of jobs, are left out at the beginning.
        read_jobs: Most outcomes that `ordered_steps` reads ahead.

    Raises, from all steps:
        UnknownBatch: Redis has no such batch.
        ResultsUnavailable: Redis was not available for too long.
    """

    def __init__(
        self,
        results: ResultSteps,
        batch_id: str,
        *,
        timeout_s: float | None,
        first: int = 0,
        read_jobs: int = MOST_JOBS_READ,
    ) -> None:
        self._results = results
        self._batch_id = batch_id
        self._timeout_s = timeout_s
        self._ordered = OrderedResults(results, timeout_s=timeout_s, read_jobs=read_jobs)
        #: How many jobs were read, and how many of these are expected by `ordered_steps`.
        self._seen = first
        self._expected = 0
        self._pages: OrderedDict[int, list[str]] = OrderedDict()

    def ended_steps(self) -> Steps[list[tuple[str, Ended]]]:
        """Wait for the next jobs that end; return each with its outcome, or its error, in the
        order in which they ended. Return none when the batch is complete.

        Raises:
            BatchTimeout: No job ended in time.
        """
        return (yield from self._wait_steps(self._look_at_ended_steps))

    def ordered_steps(self) -> Steps[Ended | None]:
        """Wait for the outcome, or the error, of the next job in the order in which they were sent.
        Return None when the batch is closed and has no more.

        Raises:
            BatchTimeout: The batch is open, and no more jobs came in time.
        """
        if not self._expected:
            ids = yield from self._wait_steps(self._look_at_jobs_steps)
            for job_id in ids:
                self._ordered.expect(job_id)
            self._expected = len(ids)
        if not self._expected:
            return None
        self._expected -= 1
        return (yield from self._ordered.end_steps())

    def complete_steps(self) -> Steps[BatchProgress]:
        """Wait until the batch is complete, and return its counts.

        Raises:
            BatchTimeout: It is not complete yet. The message says what it waits for.
        """
        return (yield from self._wait_steps(self._look_at_progress_steps))

    def _wait_steps(self, look: Callable[[], Steps[T | None]]) -> Steps[T]:
        """Look until there is something else than None; look again when something changes."""
        deadline = Deadline(self._timeout_s)
        outage_since: float | None = None
        key, _ = batch_keys(self._results, self._batch_id)
        is_subscribed = False
        while True:
            try:
                found = yield from look()
                outage_since = None
                if found is not None:
                    return found
                if is_subscribed:
                    if deadline.has_passed:
                        raise (yield from self._timed_out_steps())
                    yield Listen(min(_POLL_INTERVAL_S, deadline.remaining_s))
                else:
                    yield Subscribe(key)
                    is_subscribed = True
            except _CONNECTION_ERRORS as error:
                is_subscribed = False
                outage_since = outage_since or CLOCK.monotonic_s()
                if deadline.has_passed or CLOCK.monotonic_s() - outage_since > _MAX_OUTAGE_S:
                    raise ResultsUnavailable(
                        f"Redis went away while waiting for the batch {self._batch_id}, which is "
                        "not affected"
                    ) from error
                yield Pause(_OUTAGE_PAUSE_S)

    def _look_at_ended_steps(self) -> Steps[list[tuple[str, Ended]] | None]:
        # Read before the places: what ends in between is among these.
        progress = yield from progress_steps(self._results, self._batch_id)
        places = yield from ended_places_steps(
            self._results, self._batch_id, self._seen, _READ_JOBS
        )
        if not places:
            return [] if progress.is_complete else None
        ended = yield from self._outcomes_steps(places)
        self._seen += len(places)
        return ended

    def _look_at_jobs_steps(self) -> Steps[list[str] | None]:
        progress = yield from progress_steps(self._results, self._batch_id)
        ids = yield from ids_of_batch_steps(self._results, self._batch_id, self._seen, _PAGE_IDS)
        self._seen += len(ids)
        return ids if ids or progress.is_closed else None

    def _look_at_progress_steps(self) -> Steps[BatchProgress | None]:
        progress = yield from progress_steps(self._results, self._batch_id)
        return progress if progress.is_complete else None

    def _timed_out_steps(self) -> Steps[BatchTimeout]:
        progress = yield from progress_steps(self._results, self._batch_id)
        what = f"{progress.remaining:,} jobs have not ended"
        if not progress.is_closed:
            what = f"it is open, and {what}"
        return BatchTimeout(f"the batch {self._batch_id} is not complete: {what}", self._batch_id)

    def _outcomes_steps(self, places: Sequence[int]) -> Steps[list[tuple[str, Ended]]]:
        found: list[str] = []
        for place in places:
            found.append((yield from self._id_steps(place)))  # noqa: PERF401 - it yields
        ended = yield from ended_among_steps(self._results, found)
        return [(job_id, ended.get(job_id) or _not_stored(job_id)) for job_id in found]

    def _id_steps(self, place: int) -> Steps[str]:
        """Return the id of the job at a place that the batch has."""
        number, offset = divmod(place, _PAGE_IDS)
        page = self._pages.get(number, [])
        if offset >= len(page):  # It is not in memory, or the batch was smaller then.
            first = number * _PAGE_IDS
            page = yield from ids_of_batch_steps(self._results, self._batch_id, first, _PAGE_IDS)
            self._pages[number] = page
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        if offset >= len(page):
            raise unknown_batch(self._batch_id)
        self._pages.move_to_end(number)
        return page[offset]


def _not_stored(job_id: str) -> JobFailed:
    return JobFailed(
        f"job {job_id} failed; its outcome was not stored, or it was retried since and is queued",
        job_id,
        "retried",
    )
