"""The end of a gateway: what waits for something is interrupted, so that it can be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Closing"]


class Closing:
    """Whether the gateway ends. One event loop uses it."""

    def __init__(self) -> None:
        self.has_begun = False
        self._waits: set[asyncio.Timeout] = set()

    def begin(self) -> None:
        """Interrupt all that waits, now and from now on."""
        self.has_begun = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())

    @property
    def waiting(self) -> int:
        """How many blocks wait now."""
        return len(self._waits)

    @asynccontextmanager
    async def interrupts(self) -> AsyncIterator[None]:
        """Interrupt the block when the gateway ends; go on after it, then.

        A `TimeoutError` of the block itself is raised.
        """
        wait = asyncio.timeout(0 if self.has_begun else None)
        try:
            async with wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if not wait.expired():
                raise
