"""The jobs that wait for the engine, in order, and which of them make the next round."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from celery.worker import state

from sentq_worker.jobs.deadline import has_passed
from sentq_worker.jobs.handback import CeleryHandback
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["DiscardedJobs", "PendingJobs"]


class DiscardedJobs(NamedTuple):
    """Jobs that nobody waits for any more: revoked ones, all plain, and those of any kind whose
    deadline has passed."""

    revoked: list[InFlightJob]
    late: list[InFlightJob]


class PendingJobs:
    """Jobs in the order in which they are scored, and some that are tried again later.

    Args:
        round_chars: How much text makes a round, at most; a larger job runs alone.
    """

    def __init__(self, *, batch_chars: int) -> None:
        self._batch_chars = batch_chars
        self._jobs: deque[InFlightJob] = deque()
        self._later: list[tuple[float, int, InFlightJob]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._jobs) + len(self._later)

    def __iter__(self) -> Iterator[InFlightJob]:
        # Copied first: other threads may look.
        jobs, later = [*self._jobs], [*self._later]
        return iter([*jobs, *(job for _, _, job in sorted(later))])

    def add(self, job: InFlightJob) -> None:
        """Put a job behind the others."""
        self._jobs.append(job)

    def add_later(self, job: InFlightJob, delay_s: float) -> None:
        """Put a job behind those that will be there in so many seconds."""
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), job))

    def put_back(self, jobs: Sequence[InFlightJob]) -> None:
        """Put the jobs of a round before the others, in their order."""
        self._jobs.extendleft(reversed(jobs))

    def remove(self, tags: Collection[str]) -> list[InFlightJob]:
        """Take out, and return, the plain jobs that are noted under these tags."""
        found = [job for job in self if isinstance(job.ack_handle, str) and job.ack_handle in tags]
        gone = set(map(id, found))
        self._later = [entry for entry in self._later if id(entry[2]) not in gone]
        heapq.heapify(self._later)
        self._jobs = deque(job for job in self._jobs if id(job) not in gone)
        return found

    @property
    def next_in_s(self) -> float | None:
        """When there will be a job, where there is none now but in a while."""
        if self._jobs or not self._later:
            return None
        return max(0.0, self._later[0][0] - time.monotonic())

    def remove_over(self, now_ms: float) -> DiscardedJobs:
        """Take out, and return, the jobs that nobody wants any more. Those that were revoked on
        Celery's own path it has ended itself.

        Args:
            now_ms: The time by Redis' clock.
        """
        over = DiscardedJobs([], [])
        self._later = [entry for entry in self._later if self._is_wanted(entry[2], now_ms, over)]
        heapq.heapify(self._later)
        self._jobs = deque(job for job in self._jobs if self._is_wanted(job, now_ms, over))
        return over

    def next_batch(self) -> list[InFlightJob]:
        """Take out the jobs of the next round: a suspect alone, or some that are none."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._jobs.append(heapq.heappop(self._later)[2])
        jobs = self.upcoming()
        for _ in jobs:
            self._jobs.popleft()
        return jobs

    def upcoming(self) -> list[InFlightJob]:
        """The jobs that would make the next round if no more came."""
        jobs: list[InFlightJob] = []
        chars = 0
        for job in self._jobs:
            chars += job.chars
            if jobs and (chars > self._batch_chars or job.is_suspect):
                break
            jobs.append(job)
            if job.is_suspect:
                break
        return jobs

    @staticmethod
    def _is_wanted(job: InFlightJob, now_ms: float, over: DiscardedJobs) -> bool:
        if isinstance(job.ack_handle, CeleryHandback):
            if job.ack_handle.is_over():
                return False
        elif job.id in state.revoked:
            over.revoked.append(job)
            return False
        if has_passed(job.headers, now_ms):
            over.late.append(job)
            return False
        return True
