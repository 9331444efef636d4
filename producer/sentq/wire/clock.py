"""The clock of this process: real time, unless a test has let some pass (`sentq.testing`)."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["CLOCK", "ProcessClock"]


class ProcessClock:
    """Tells the time to everything in a client that measures or compares it."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def monotonic_s(self) -> float:
        """Return monotonic time in seconds, from an arbitrary start."""
        return time.monotonic() + self._ahead_s

    def unix_s(self) -> float:
        """Return Unix time in seconds."""
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass. For tests only: all clients of the process are affected."""
        self._ahead_s += seconds

    def reset(self) -> None:
        """Tell the real time again."""
        self._ahead_s = 0.0


#: The one clock of the process.
CLOCK: Final = ProcessClock()
