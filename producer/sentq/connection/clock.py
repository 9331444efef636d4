"""What time it is in Redis. Senders and workers that agree on nothing else share its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["RedisClock"]

#: Redis is asked again after this long: clocks drift, and a laptop that sleeps stops ours.
_VALID_S: Final = 10.0


class RedisClock:
    """Tells Redis' time, at the cost of a round trip now and then. Safe to share between threads.

    Args:
        ask: Asks Redis for its time in Unix seconds. What it raises is passed on.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        #: Redis' time less ours, and when that was found, by our clock.
        self._found: tuple[float, float] | None = None

    def now_s(self) -> float:
        """Redis' time in Unix seconds. A round trip late at most."""
        here_s = time.monotonic()
        if self._found is None or here_s - self._found[1] > _VALID_S:
            there_s = self._ask()
            here_s = time.monotonic()
            self._found = there_s - here_s, here_s
        return here_s + self._found[0]
