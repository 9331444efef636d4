"""A circuit breaker: decides whether an engine may be used.

closed ── consecutive failures, or a decisive one ──▶ open ── the interval is over ──▶ half open
   ▲                                                   ▲                                │
   └───────────────── the probe succeeds ──────────────┴───────── the probe fails ──────┘

stopped: as open, until the process is restarted

A probe is one use of an engine, with `PROBE_TEXT`, that finds out whether it works again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

__all__ = ["PROBE_TEXT", "Breaker", "BreakerSnapshot", "BreakerState"]

logger = logging.getLogger(__name__)

#: The text that a probe scores.
PROBE_TEXT: Final = "good"


class BreakerState(StrEnum):
    """The states of a breaker. They stand in workers' reports."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker's state, with its reason and its time.

    Times are Unix seconds by the host's clock, so that the workers of a host can compare them. A
    probe is due at `until_s`; `at_s` is the time of the change. `reason` never contains a text.
    """

    state: BreakerState = BreakerState.CLOSED
    reason: str = ""
    until_s: float = 0.0
    at_s: float = 0.0


class Breaker:
    """Counts an engine's failures and opens after too many. Many threads may use it.

    Args:
        name: The name of the engine in the log and in Redis.
        failures: Consecutive failures that open it.
        probe_interval_s: How long it stays open before a probe, in seconds.
        now: The host's clock.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        probe_interval_s: float = 10.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._limit = failures
        self._interval_s = probe_interval_s
        self._now = now
        self._lock = threading.Lock()
        self._snapshot = BreakerSnapshot(at_s=now())
        self._failures = 0
        self._is_stopped_here = False

    @property
    def snapshot(self) -> BreakerSnapshot:
        """The present state, with its reason and its time."""
        return self._snapshot

    @property
    def state(self) -> BreakerState:
        """The present state."""
        return self._snapshot.state

    @property
    def is_closed(self) -> bool:
        """Whether the engine may be used."""
        return self._snapshot.state is BreakerState.CLOSED

    @property
    def is_probe_due(self) -> bool:
        """Whether it was open for long enough for a probe."""
        return self.state is BreakerState.OPEN and self._now() >= self._snapshot.until_s

    @property
    def retry_after_s(self) -> float | None:
        """When a retry is useful, in seconds; None if it is stopped."""
        if self.state is BreakerState.STOPPED:
            return None
        return max(0.0, self._snapshot.until_s - self._now())

    def begin_probe(self) -> bool:
        """Return whether the caller may probe: one caller at a time, and only if a probe is due.

        A probe ends with `record_success`, `record_failure`, `open` or `stop`.
        """
        with self._lock:
            if not self.is_probe_due:
                return False
            self._snapshot = replace(self._snapshot, state=BreakerState.HALF_OPEN)
        return True

    def record_success(self) -> None:
        """Record that the engine worked.

        A use that began before the breaker was opened or stopped does not close it.
        """
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self.close()

    def record_failure(self, reason: str) -> None:
        """Record that the engine failed. Opens after consecutive failures, or after a probe."""
        with self._lock:
            self._failures += 1
            is_enough = self.is_closed and self._failures >= self._limit
        if is_enough or self.state is BreakerState.HALF_OPEN:
            self.open(reason)

    def close(self) -> None:
        """Close: the engine works."""
        self._change(BreakerSnapshot(BreakerState.CLOSED, at_s=self._now()))

    def open(self, reason: str, for_s: float | None = None) -> None:
        """Open for as long as the engine asks, in seconds, or until the next probe."""
        now = self._now()
        until_s = now + (self._interval_s if for_s is None else for_s)
        self._change(BreakerSnapshot(BreakerState.OPEN, reason, until_s, now))

    def stop(self, reason: str) -> None:
        """Open until the process is restarted."""
        self._is_stopped_here = True
        self._change(BreakerSnapshot(BreakerState.STOPPED, reason, 0.0, self._now()))

    def adopt(self, snapshot: BreakerSnapshot, *, even_if_older: bool = False) -> None:
        """Take over the state that another worker of the host found, if it is newer."""
        is_news = even_if_older or snapshot.at_s > self._snapshot.at_s
        if is_news and self.state is not BreakerState.HALF_OPEN:
            self._change(snapshot)

    def _change(self, snapshot: BreakerSnapshot) -> None:
        with self._lock:
            before = self._snapshot.state
            if self._is_stopped_here and snapshot.state is not BreakerState.STOPPED:
                return
            self._snapshot = snapshot
            self._failures = 0
        was_open = before in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        if snapshot.state is before or (was_open and snapshot.state is BreakerState.OPEN):
            pass  # Open again after a failed probe: nothing new for the log.
        elif snapshot.state is BreakerState.CLOSED:
            logger.info("%s is available again", self.name)
        elif snapshot.state is BreakerState.STOPPED:
            logger.error("%s is not used until the worker restarts: %s", self.name, snapshot.reason)
        else:
            logger.warning("%s is not used for now: %s", self.name, snapshot.reason)
