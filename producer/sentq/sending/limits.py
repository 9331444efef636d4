"""How much may wait in a queue, and how long until there is room where that is exceeded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sentq.errors import QueueFull
from sentq.wire.reports import WorkerReport

__all__ = ["QueueLimitExceeded", "QueueLimits", "QueueUsage", "queue_full"]

#: Estimates below are not worth a sleep; those above are worth no more than a look.
_LEAST_S: Final = 0.1
_MOST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait in one queue; None for no limit."""

    jobs: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.bytes is not None


@dataclass(frozen=True, slots=True)
class QueueUsage:
    """What waits in a queue, as Redis counts it."""

    jobs: int
    bytes: int


class QueueLimitExceeded(Exception):
    """Jobs were refused: `waiting` was in the queue, and `added` did not fit."""

    def __init__(self, waiting: QueueUsage, added: QueueUsage) -> None:
        super().__init__()
        self.waiting = waiting
        self.added = added


def queue_full(
    queue: str,
    limits: QueueLimits,
    refusal: QueueLimitExceeded,
    reports: Iterable[WorkerReport],
) -> QueueFull:
    """The error for jobs that were refused.

    Args:
        queue: Where they were to go.
        limits: What may wait there.
        refusal: What does, and what was refused.
        reports: Of the workers, whose pace says when there will be room.
    """
    waiting, added = refusal.waiting, refusal.added
    if limits.jobs is not None and waiting.jobs + added.jobs > limits.jobs:
        problem = f"{waiting.jobs:,} jobs waiting, max_queued_jobs is {limits.jobs:,}"
        excess_jobs = waiting.jobs + added.jobs - limits.jobs
    else:
        problem = f"{waiting.bytes:,} bytes waiting, max_queued_bytes is {limits.bytes or 0:,}"
        excess_bytes = waiting.bytes + added.bytes - (limits.bytes or 0)
        excess_jobs = round(excess_bytes * waiting.jobs / waiting.bytes) if waiting.bytes else 0
    rate = sum(report.jobs_per_s for report in reports if queue in report.queues)
    problem = f"the queue {queue} is full: {problem}"
    if rate <= 0:
        return QueueFull(f"{problem}; no worker reports that it takes any")
    retry_after_s = min(_MOST_S, max(_LEAST_S, excess_jobs / rate))
    return QueueFull(
        f"{problem}; try again in about {retry_after_s:.1f} s", retry_after_s=retry_after_s
    )
