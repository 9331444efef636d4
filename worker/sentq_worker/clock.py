"""Redis' clock, by which deadlines pass: the clocks of hosts may differ by hours.

The client has a clock of its own, `sentq.connection.clock.RedisClock`. That one asks Redis when
the time is needed, and may wait for the reply. The worker's event loop must never wait for one,
so its clock is set by the thread that renews the leases.
"""

from __future__ import annotations

import time

__all__ = ["WorkerClock"]


class WorkerClock:
    """Continues from the time that Redis told last, even if this host's clock is changed. May be
    set by one thread and read by another."""

    def __init__(self) -> None:
        #: Redis' time less this process' monotonic time; the host's own, until Redis' is known.
        self._ahead_s = time.time() - time.monotonic()

    def set(self, redis_s: float, *, asked_at_s: float, answered_at_s: float) -> None:
        """Take over Redis' reply to TIME.

        Args:
            redis_s: The reply, in Unix seconds.
            asked_at_s: When Redis was asked, by the monotonic clock.
            answered_at_s: When the reply came. The reply is taken to be right halfway.
        """
        self._ahead_s = redis_s - (asked_at_s + answered_at_s) / 2

    def now_ms(self) -> float:
        """Return Redis' time now, in Unix milliseconds."""
        return (time.monotonic() + self._ahead_s) * 1000
