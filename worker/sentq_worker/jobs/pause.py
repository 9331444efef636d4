"""The time in which the engine cannot answer, and jobs wait for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable

__all__ = ["EngineBackoff"]

logger = logging.getLogger(__name__)

_LEAST_S: Final = 2.0
_MOST_S: Final = 30.0


class EngineBackoff:
    """Says when the engine may be asked again. The log hears of each change, not of each try."""

    def __init__(self) -> None:
        self._tries = 0
        self._began_at = 0.0
        self._until = 0.0
        #: Why the engine cannot answer; None where it can.
        self.reason: str | None = None

    @property
    def remaining_s(self) -> float:
        """How long to leave the engine alone; 0 where it may be asked."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, error: EngineUnavailable) -> None:
        """The engine cannot answer: leave it alone for as long as it said, or for 1 to 30 s."""
        now = time.monotonic()
        if not self._tries:
            self._began_at = now
            logger.warning("the engine is not available, jobs wait for it: %s", error)
        self._tries += 1
        self.reason = str(error)
        delay_s = error.retry_after_s
        if delay_s is None:
            delay_s = jittered_s(self._tries, least_s=_LEAST_S, most_s=_MOST_S)
        self._until = now + delay_s

    def sleep(self, look: Callable[[], object]) -> None:
        """Wait in place, and look every half second for a reason to raise something."""
        while remaining_s := self.remaining_s:
            look()
            time.sleep(min(remaining_s, 0.5))

    def end(self) -> None:
        """The engine answered."""
        if self._tries:
            waited_s = time.monotonic() - self._began_at
            logger.info("the engine is available again, after %.1f s", waited_s)
        self._tries = 0
        self._until = 0.0
        self.reason = None
