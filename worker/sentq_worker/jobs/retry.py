"""Which jobs are tried again, and when.

A failure that may be temporary is tried again: memory that was short at the moment. Bad input,
and a text on which the model fails, give the same again, so they are results at once.

While the engine is not available at all, all jobs wait for it. That costs none of them a try.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from sentq.contract import ErrorCode
from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.jobs.outcomes import OutcomeFields

__all__ = ["EngineBackoff", "retry_delay_s", "unavailable_delay_s"]

logger = logging.getLogger(__name__)

#: Codes of outcomes that another try may change.
_TEMPORARY: Final = frozenset({ErrorCode.RESOURCE_EXHAUSTED})

_MAX_TRIES: Final = 3
_MIN_DELAY_S: Final = 1.0
_MAX_DELAY_S: Final = 8.0

#: The shortest delay that the engine itself may ask for.
_MIN_ENGINE_DELAY_S: Final = 0.1

#: The delays while the engine is not available and does not tell for how long.
_MIN_BACKOFF_S: Final = 2.0
_MAX_BACKOFF_S: Final = 30.0

#: How often a wait in place checks whether the worker shall end.
_CHECK_INTERVAL_S: Final = 0.5


def retry_delay_s(outcome: OutcomeFields, tries: int) -> float | None:
    """Return in how many seconds a job is tried again; None if this outcome is its result.

    Args:
        outcome: What the last batch gave.
        tries: How many batches gave the job an outcome, this one included.
    """
    if tries >= _MAX_TRIES:
        return None
    for text in outcome["outcomes"]:
        if "code" in text and text["code"] in _TEMPORARY:
            return jittered_s(tries, least_s=_MIN_DELAY_S, most_s=_MAX_DELAY_S)
    return None


def unavailable_delay_s(error: EngineUnavailable, tries: int) -> float:
    """Return in how many seconds a job is tried again for which the engine was not available,
    while other jobs of its batch got a result.

    Args:
        error: Tells for how long, if it can. It may be available sooner than in hours, so the
            delay is limited.
        tries: How many batches the job was in.
    """
    if error.retry_after_s is not None:
        return min(max(error.retry_after_s, _MIN_ENGINE_DELAY_S), _MAX_DELAY_S)
    return jittered_s(tries, least_s=_MIN_DELAY_S, most_s=_MAX_DELAY_S)


class EngineBackoff:
    """Tells when an engine that was not available may be asked again. Each change is logged
    once, not each try."""

    def __init__(self) -> None:
        self._tries = 0
        self._began_at = 0.0
        self._until = 0.0
        #: Why the engine is not available; None while it is.
        self.reason: str | None = None

    @property
    def remaining_s(self) -> float:
        """How long the engine must not be asked; 0 if it may be."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, error: EngineUnavailable) -> None:
        """The engine is not available: do not ask it for as long as it said, or for 1 to 30 s."""
        now = time.monotonic()
        if not self._tries:
            self._began_at = now
            logger.warning("the engine is not available, jobs wait for it: %s", error)
        self._tries += 1
        self.reason = str(error)
        delay_s = error.retry_after_s
        if delay_s is None:
            delay_s = jittered_s(self._tries, least_s=_MIN_BACKOFF_S, most_s=_MAX_BACKOFF_S)
        self._until = now + delay_s

    def sleep(self, check: Callable[[], object]) -> None:
        """Sleep until the engine may be asked.

        Args:
            check: Is called every half second; what it raises ends the sleep.
        """
        while remaining_s := self.remaining_s:
            check()
            time.sleep(min(remaining_s, _CHECK_INTERVAL_S))

    def end(self) -> None:
        """The engine is available."""
        if self._tries:
            waited_s = time.monotonic() - self._began_at
            logger.info("the engine is available again, after %.1f s", waited_s)
        self._tries = 0
        self._until = 0.0
        self.reason = None
