"""Redis' clock, which deadlines are told by: hosts' own clocks may differ by hours."""

from __future__ import annotations

import time

__all__ = ["WorkerClock"]


class WorkerClock:
    """Goes on from what Redis said last, whatever is done to this host's clock meanwhile. May be
    set by one thread and read by another."""

    def __init__(self) -> None:
        #: Redis' time less this process' monotonic time; until it is known, our own host's.
        self._ahead_s = time.time() - time.monotonic()

    def set(self, redis_s: float, *, asked_at_s: float, answered_at_s: float) -> None:
        """Take over what Redis answered to TIME, in Unix seconds. When it was asked and when it
        answered is monotonic time; what it said held in between."""
        self._ahead_s = redis_s - (asked_at_s + answered_at_s) / 2

    def now_ms(self) -> float:
        """Redis' time now, in Unix milliseconds."""
        return (time.monotonic() + self._ahead_s) * 1000
