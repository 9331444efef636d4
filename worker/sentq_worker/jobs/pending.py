"""The jobs that wait for the engine, in order, and which of them make the next batch."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple

from celery.worker import state

from sentq.contract import DEADLINE_HEADER
from sentq_worker.jobs.in_flight import InFlightJob, has_deadline_passed

__all__ = ["DiscardedJobs", "PendingJobs"]

#: A job is small if so many of its size fit in a batch: it then has half a model batch of tokens
#: in prose, and at most two in any text.
_SMALL_JOBS: Final = 8


class DiscardedJobs(NamedTuple):
    """Jobs whose result is of no use any more.

    Attributes:
        revoked: Revoked jobs, all plain.
        late: Jobs of any kind whose deadline has passed.
    """

    revoked: list[InFlightJob]
    late: list[InFlightJob]


class PendingJobs:
    """Jobs in the order in which they are scored, and some that are tried again later.

    Args:
        batch_chars: The most characters of a batch; a larger job runs alone.
        bulk_queue: The queue of bulk work.
    """

    def __init__(self, *, batch_chars: int, bulk_queue: str) -> None:
        self._batch_chars = batch_chars
        self._small_chars = batch_chars // _SMALL_JOBS
        self._bulk_queue = bulk_queue
        self._jobs: deque[InFlightJob] = deque()
        self._later: list[tuple[float, int, InFlightJob]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._jobs) + len(self._later)

    def __iter__(self) -> Iterator[InFlightJob]:
        # Copied first: other threads may iterate.
        jobs, later = [*self._jobs], [*self._later]
        return iter([*jobs, *(job for _, _, job in sorted(later))])

    def add(self, job: InFlightJob) -> None:
        """Put a job behind the others."""
        self._jobs.append(job)

    def add_later(self, job: InFlightJob, delay_s: float) -> None:
        """Put a job behind those that will be there in so many seconds."""
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), job))

    def put_back(self, jobs: Sequence[InFlightJob]) -> None:
        """Put the jobs of a batch before the others, in their order."""
        self._jobs.extendleft(reversed(jobs))

    def remove(self, tags: Collection[str]) -> list[InFlightJob]:
        """Remove, and return, the plain jobs that are recorded under these tags."""
        found = [job for job in self if job.ack_handle.batch_tag in tags]
        removed = set(map(id, found))
        self._later = [entry for entry in self._later if id(entry[2]) not in removed]
        heapq.heapify(self._later)
        self._jobs = deque(job for job in self._jobs if id(job) not in removed)
        return found

    @property
    def next_in_s(self) -> float | None:
        """In how many seconds there will be a job; None if there is one now, or none at all."""
        if self._jobs or not self._later:
            return None
        return max(0.0, self._later[0][0] - time.monotonic())

    def remove_discarded(self, now_ms: float) -> DiscardedJobs:
        """Remove, and return, the jobs whose result is of no use any more. Jobs that Celery has
        ended are removed only.

        Args:
            now_ms: The time by Redis' clock.
        """
        discarded = DiscardedJobs([], [])
        self._later = [entry for entry in self._later if _is_wanted(entry[2], now_ms, discarded)]
        heapq.heapify(self._later)
        self._jobs = deque(job for job in self._jobs if _is_wanted(job, now_ms, discarded))
        return discarded

    def next_batch(self) -> list[InFlightJob]:
        """Remove, and return, the jobs of the next batch: one suspect, or some others."""
        self._add_due()
        return self._remove_first()

    def next_batch_beside(self, *, with_bulk: bool) -> list[InFlightJob]:
        """Remove, and return, the jobs of a batch that is scored beside others. No suspect is
        among them.

        Args:
            with_bulk: Whether bulk work may begin the batch.
        """
        self._add_due()
        passed: list[InFlightJob] = []
        while self._jobs and not self._may_pass(self._jobs[0], with_bulk=with_bulk):
            passed.append(self._jobs.popleft())
        jobs = self._remove_first()
        self.put_back(passed)
        return jobs

    def _add_due(self) -> None:
        """Put the jobs that are tried again now behind the others."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._jobs.append(heapq.heappop(self._later)[2])

    def _may_pass(self, job: InFlightJob, *, with_bulk: bool) -> bool:
        return not job.is_suspect and (with_bulk or job.queue != self._bulk_queue)

    def _remove_first(self) -> list[InFlightJob]:
        jobs = self.upcoming()
        for _ in jobs:
            self._jobs.popleft()
        return jobs

    def upcoming(self) -> list[InFlightJob]:
        """Return the jobs that would make the next batch if no more came.

        Small jobs and large ones do not share a batch: a large one may take seconds, and the small
        ones must not wait for it.
        """
        jobs: list[InFlightJob] = []
        chars = 0
        is_small = True
        for job in self._jobs:
            job_chars, runs_alone = job.chars, job.is_suspect
            chars += job_chars
            if not jobs:
                is_small = job_chars <= self._small_chars
            elif (
                runs_alone
                or chars > self._batch_chars
                or (job_chars <= self._small_chars) != is_small
            ):
                break
            jobs.append(job)
            if runs_alone:
                break
        return jobs


def _is_revoked(job: InFlightJob) -> bool:
    """Return whether a job, or the batch to which it belongs, was revoked or cancelled."""
    place = job.place
    return job.id in state.revoked or (place is not None and place.batch_id in state.revoked)


def _is_wanted(job: InFlightJob, now_ms: float, discarded: DiscardedJobs) -> bool:
    if job.ack_handle.is_plain:
        if state.revoked and _is_revoked(job):
            discarded.revoked.append(job)
            return False
    elif job.ack_handle.is_ended():
        return False
    if DEADLINE_HEADER in job.headers and has_deadline_passed(job.headers, now_ms):
        discarded.late.append(job)
        return False
    return True
