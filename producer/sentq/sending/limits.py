"""Limits of queues, and the estimate when a full queue has capacity again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sentq.errors import QueueFull
from sentq.wire.reports import WorkerReport

__all__ = ["QueueLimitExceeded", "QueueLimits", "QueueUsage", "queue_full_error"]

#: The range of estimates: a shorter pause is useless, and a longer estimate is unreliable.
_MIN_RETRY_S: Final = 0.1
_MAX_RETRY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs and bytes may wait in a queue; None for no limit."""

    jobs: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.bytes is not None


@dataclass(frozen=True, slots=True)
class QueueUsage:
    """Jobs and bytes that wait in a queue, as Redis counts them."""

    jobs: int
    bytes: int


class QueueLimitExceeded(Exception):
    """Jobs were rejected: `waiting` was in the queue, and `added` did not fit."""

    def __init__(self, waiting: QueueUsage, added: QueueUsage) -> None:
        super().__init__()
        self.waiting = waiting
        self.added = added


def queue_full_error(
    queue: str,
    limits: QueueLimits,
    rejection: QueueLimitExceeded,
    reports: Iterable[WorkerReport],
) -> QueueFull:
    """Return the error for rejected jobs.

    Args:
        queue: The full queue.
        limits: Its limits.
        rejection: Its usage, and what was rejected.
        reports: The workers' reports. Their rates give the time until there is capacity.
    """
    waiting, added = rejection.waiting, rejection.added
    if limits.jobs is not None and waiting.jobs + added.jobs > limits.jobs:
        problem = f"{waiting.jobs:,} jobs waiting, max_queued_jobs is {limits.jobs:,}"
        excess_jobs = waiting.jobs + added.jobs - limits.jobs
    else:
        problem = f"{waiting.bytes:,} bytes waiting, max_queued_bytes is {limits.bytes or 0:,}"
        excess_bytes = waiting.bytes + added.bytes - (limits.bytes or 0)
        excess_jobs = round(excess_bytes * waiting.jobs / waiting.bytes) if waiting.bytes else 0
    rates = [report.jobs_per_s for report in reports if queue in report.queues]
    rate = sum(rates)
    problem = f"the queue {queue} is full: {problem}"
    if rate <= 0:
        why = "no worker has reported its rate" if rates else "no worker reports that it reads it"
        return QueueFull(f"{problem}; {why}")
    retry_after_s = min(_MAX_RETRY_S, max(_MIN_RETRY_S, excess_jobs / rate))
    return QueueFull(
        f"{problem}; try again in about {retry_after_s:.1f} s", retry_after_s=retry_after_s
    )
