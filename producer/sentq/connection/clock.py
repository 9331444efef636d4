"""The time of Redis: the one clock that senders and workers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sentq.wire.clock import CLOCK
from sentq.wire.steps import Steps

__all__ = ["RedisClock"]

#: Redis is asked again after this time: clocks drift, and sleep stops the clock of a laptop.
_VALID_S: Final = 10.0


class RedisClock:
    """Tells the time of Redis, with a round trip every ten seconds at most. Thread-safe.

    Args:
        ask: The steps that ask Redis for its time in Unix seconds. Their exceptions are passed on.
    """

    def __init__(self, ask: Callable[[], Steps[float]]) -> None:
        self._ask = ask
        #: Redis' time minus the monotonic time, and the monotonic time of that measurement.
        self._offset: tuple[float, float] | None = None

    def now_steps(self) -> Steps[float]:
        """Return Redis' time in Unix seconds, late by one round trip at most."""
        here_s = CLOCK.monotonic_s()
        if self._offset is None or here_s - self._offset[1] > _VALID_S:
            redis_s = yield from self._ask()
            here_s = CLOCK.monotonic_s()
            self._offset = redis_s - here_s, here_s
        return here_s + self._offset[0]
