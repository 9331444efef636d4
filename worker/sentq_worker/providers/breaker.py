"""Whether an engine may be asked: a circuit breaker.

closed ── failures in a row, or one that says enough ──▶ open ── its time is up ──▶ half open
   ▲                                                      ▲                             │
   └────────────────────── a probe succeeds ──────────────┴──────── it fails ───────────┘

stopped: as open, until the process starts anew
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Breaker", "BreakerSnapshot", "BreakerState"]

logger = logging.getLogger(__name__)


class BreakerState(StrEnum):
    """What a breaker says. Stands in workers' reports."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """What is known of an engine. Times are Unix seconds by the host's clock, so that a host's
    workers can tell each other; `reason` holds no text."""

    state: BreakerState = BreakerState.CLOSED
    reason: str = ""
    until_s: float = 0.0
    at_s: float = 0.0


class Breaker:
    """Counts failures and remembers the verdict. May be used by many threads.

    Args:
        name: What the log calls the engine.
        failures: How many in a row open it.
        probe_interval_s: How long it stays open before somebody may probe.
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
        self._stopped_here = False

    @property
    def snapshot(self) -> BreakerSnapshot:
        """What is known now."""
        return self._snapshot

    @property
    def state(self) -> BreakerState:
        """What it says now."""
        return self._snapshot.state

    @property
    def is_closed(self) -> bool:
        """Whether the engine may be asked as usual."""
        return self._snapshot.state is BreakerState.CLOSED

    @property
    def is_due(self) -> bool:
        """Whether it was open for long enough for somebody to probe."""
        return self.state is BreakerState.OPEN and self._now() >= self._snapshot.until_s

    @property
    def retry_after_s(self) -> float | None:
        """How long nobody need ask again; None where nobody can tell."""
        if self.state is BreakerState.STOPPED:
            return None
        return max(0.0, self._snapshot.until_s - self._now())

    def begin_probe(self) -> bool:
        """Whether the caller may try once whether the engine works again: one at a time, and not
        before the time is up. It ends with `succeeded`, `failed`, `open` or `stop`."""
        with self._lock:
            snapshot = self._snapshot
            if not self.is_due:
                return False
            self._snapshot = BreakerSnapshot(
                BreakerState.HALF_OPEN, snapshot.reason, snapshot.until_s, snapshot.at_s
            )
        return True

    def succeeded(self) -> None:
        """The engine answered. What was under way when it was opened or stopped changes that no
        more."""
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self.close()

    def close(self) -> None:
        """The engine was seen to work: ask it as usual."""
        self._change(BreakerSnapshot(BreakerState.CLOSED, at_s=self._now()))

    def failed(self, reason: str) -> None:
        """The engine failed. Opens after enough of these in a row, and again after a probe."""
        with self._lock:
            self._failures += 1
            is_enough = self.is_closed and self._failures >= self._limit
        if is_enough or self.state is BreakerState.HALF_OPEN:
            self.open(reason)

    def open(self, reason: str, for_s: float | None = None) -> None:
        """Leave the engine alone for as long as it said, or until the next probe."""
        now = self._now()
        until_s = now + (self._interval_s if for_s is None else for_s)
        self._change(BreakerSnapshot(BreakerState.OPEN, reason, until_s, now))

    def stop(self, reason: str) -> None:
        """Leave the engine alone until the process starts anew."""
        self._stopped_here = True
        self._change(BreakerSnapshot(BreakerState.STOPPED, reason, 0.0, self._now()))

    def adopt(self, snapshot: BreakerSnapshot, *, is_older: bool = False) -> None:
        """Take over what another worker of the host found out, where it is newer, or all the
        same."""
        is_due = is_older or snapshot.at_s > self._snapshot.at_s
        if is_due and self.state is not BreakerState.HALF_OPEN:
            self._change(snapshot)

    def _change(self, snapshot: BreakerSnapshot) -> None:
        with self._lock:
            before = self._snapshot.state
            if self._stopped_here and snapshot.state is not BreakerState.STOPPED:
                return
            self._snapshot = snapshot
            self._failures = 0
        was_open = before in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        if snapshot.state is before or (was_open and snapshot.state is BreakerState.OPEN):
            pass  # Open again, after a probe that failed: nothing new.
        elif snapshot.state is BreakerState.CLOSED:
            logger.info("%s answers again", self.name)
        elif snapshot.state is BreakerState.STOPPED:
            logger.error("%s is not asked again before a restart: %s", self.name, snapshot.reason)
        else:
            logger.warning("%s is not asked for the moment: %s", self.name, snapshot.reason)
