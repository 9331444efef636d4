"""Having something called by Celery's loop: in its next turn, or in a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["LoopCallbacks"]


class LoopCallbacks:
    """Calls one function, as often as needed and no more. The loop may change.

    Args:
        function: Is called in the loop.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._hub: Any = None
        self._is_soon = False
        self._later_at = float("inf")

    def attach(self, hub: Any) -> None:
        """Go on in this loop. What it was to call before may have gone with a connection."""
        self._hub = hub
        self._is_soon, self._later_at = False, float("inf")
        self.soon()

    def soon(self) -> None:
        """Call in the next turn of the loop: whatever else this turn brings comes first."""
        if not self._is_soon:
            self._is_soon = True
            self._hub.call_soon(self._call)

    def from_another_thread(self) -> None:
        """Call as soon as can be, from whichever thread this is."""
        self._hub.call_soon(self._call)

    def later(self, delay_s: float) -> None:
        """Call in so many seconds, or earlier where that was asked for already."""
        at = time.monotonic() + delay_s
        if at < self._later_at:
            self._later_at = at
            self._hub.call_later(delay_s, self._call_later)

    def once(self, delay_s: float, function: Callable[..., object], *arguments: object) -> None:
        """Call something else in so many seconds."""
        self._hub.call_later(delay_s, function, *arguments)

    def _call(self) -> None:
        self._is_soon = False
        self._function()

    def _call_later(self) -> None:
        self._later_at = float("inf")
        self._call()
