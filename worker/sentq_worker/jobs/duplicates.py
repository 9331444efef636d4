"""Jobs that are delivered again while they are held: scored once, and acknowledged together.

A message that went back to its queue, as a lease lapsed while Redis was away, may come again to
the worker that still has it. Jobs are known by their ids: the second of two different ones with
one id would not be answered either, for the first answer stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["DuplicateDeliveries", "with_duplicates"]


class DuplicateDeliveries:
    """The plain jobs that are held, by their ids."""

    def __init__(self) -> None:
        self._first: dict[str, InFlightJob] = {}

    def joins(self, job: InFlightJob) -> bool:
        """Note a job that came; returns whether it is held already, and ends with that one."""
        first = self._first.setdefault(job.id, job)
        if first is job:
            return False
        first.duplicates += (job,)
        return True

    def forget(self, jobs: Iterable[InFlightJob]) -> None:
        """Jobs are held no longer, nor are their copies."""
        for job in jobs:
            if self._first.get(job.id) is job:
                del self._first[job.id]


def with_duplicates(jobs: Sequence[InFlightJob]) -> Sequence[InFlightJob]:
    """Jobs, and those that end with them."""
    return [*jobs, *(copy for job in jobs for copy in job.duplicates)]
