"""Measure for how long an event loop runs no other task."""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

__all__ = ["StallMeter", "Stalls"]

_SLEEP_S: Final = 0.001


class Stalls(NamedTuple):
    """What a meter found.

    Attributes:
        longest_ms: The longest time for which the loop ran no other task. It contains time in which
            other processes had the core.
        longest_cpu_ms: The most time that the loop's thread computed meanwhile.
    """

    longest_ms: float
    longest_cpu_ms: float


class StallMeter:
    """A task that sleeps for a millisecond at a time, and finds how late it wakes."""

    def __init__(self) -> None:
        self._longest_s = self._longest_cpu_s = 0.0
        self._task = asyncio.create_task(self._measure())

    def take(self) -> Stalls:
        """Return what was found since the last call, and begin anew."""
        found = Stalls(self._longest_s * 1000, self._longest_cpu_s * 1000)
        self._longest_s = self._longest_cpu_s = 0.0
        return found

    async def aclose(self) -> None:
        """End the task."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _measure(self) -> None:
        while True:
            started_s, started_cpu_s = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_SLEEP_S)
            self._longest_s = max(self._longest_s, time.perf_counter() - started_s - _SLEEP_S)
            self._longest_cpu_s = max(self._longest_cpu_s, time.thread_time() - started_cpu_s)
