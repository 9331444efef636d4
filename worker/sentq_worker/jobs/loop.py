"""Callbacks in Celery's event loop: in its next turn, or after a delay."""

from __future__ import annotations

import time
from collections.abc import Callable

from sentq_worker.broker.protocols import EventLoop

__all__ = ["LoopCallbacks"]


class LoopCallbacks:
    """Calls one function in the loop, and no more often than it was asked to.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._loop: EventLoop | None = None
        self._is_soon = False
        self._later_at = float("inf")

    def attach(self, loop: EventLoop) -> None:
        """Go on in the loop of a new connection. Calls that were due in the last one may be lost
        with it."""
        self._loop = loop
        self._is_soon, self._later_at = False, float("inf")
        self.soon()

    def soon(self) -> None:
        """Call in the next turn of the loop, after everything that this turn brings."""
        if not self._is_soon:
            self._is_soon = True
            self._attached.call_soon(self._call)

    def from_another_thread(self) -> None:
        """Call as soon as possible. Any thread may ask for it."""
        self._attached.call_soon(self._call)

    def later(self, delay_s: float) -> None:
        """Call after so many seconds, or earlier if that was asked for already."""
        at = time.monotonic() + delay_s
        if at < self._later_at:
            self._later_at = at
            self._attached.call_later(delay_s, self._call_later)

    def once(self, delay_s: float, function: Callable[..., object], *arguments: object) -> None:
        """Call another function after so many seconds."""
        self._attached.call_later(delay_s, function, *arguments)

    @property
    def _attached(self) -> EventLoop:
        if self._loop is None:
            raise RuntimeError("no event loop: LoopCallbacks.attach comes first")
        return self._loop

    def _call(self) -> None:
        self._is_soon = False
        self._function()

    def _call_later(self) -> None:
        self._later_at = float("inf")
        self._call()
