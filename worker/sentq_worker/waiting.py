"""The jobs that wait for the engine, in order, and which of them make the next round."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from celery.worker import state

from sentq_worker.held import HeldJob
from sentq_worker.ownpath import OwnPath

__all__ = ["Waiting"]


class Waiting:
    """Jobs in the order in which they are scored.

    Args:
        round_chars: How much text makes a round, at most; a larger job runs alone.
    """

    def __init__(self, *, round_chars: int) -> None:
        self._round_chars = round_chars
        self._jobs: deque[HeldJob] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[HeldJob]:
        return iter(self._jobs)

    def add(self, job: HeldJob) -> None:
        """Put a job behind the others."""
        self._jobs.append(job)

    def put_back(self, jobs: Sequence[HeldJob]) -> None:
        """Put the jobs of a round before the others, in their order."""
        self._jobs.extendleft(reversed(jobs))

    def remove_revoked(self) -> list[HeldJob]:
        """Take out, and return, the plain jobs that nobody wants any more. Celery has ended those
        on its own path."""
        jobs, self._jobs = self._jobs, deque()
        revoked: list[HeldJob] = []
        for job in jobs:
            if not isinstance(job.receipt, OwnPath):
                (revoked if job.id in state.revoked else self._jobs).append(job)
            elif not job.receipt.is_over():
                self._jobs.append(job)
        return revoked

    def next_round(self) -> list[HeldJob]:
        """Take out the jobs of the next round."""
        jobs: list[HeldJob] = []
        chars = 0
        while self._jobs:
            chars += self._jobs[0].chars
            if jobs and chars > self._round_chars:
                break
            jobs.append(self._jobs.popleft())
        return jobs
