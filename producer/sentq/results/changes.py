"""Wait until something is published, on one connection for many channels.

A connection that was cut is replaced. A half-open one delivers nothing and raises no error, so a
wait ends after two seconds, and the caller reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import redis

from sentq.errors import ResultsUnavailable
from sentq.wire.clock import CLOCK
from sentq.wire.steps import Pause, Steps

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader

__all__ = ["Changes", "Patience"]

_T = TypeVar("_T")

#: The longest wait.
_POLL_INTERVAL_S: Final = 2.0

#: How long Redis may be unavailable.
_MAX_OUTAGE_S: Final = 30.0

_OUTAGE_PAUSE_S: Final = 0.2

#: How many channels are subscribed to, or cancelled, with one command.
_CHANNELS: Final = 500

_CONNECTION_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError)


class Patience:
    """How long to wait for the next outcome; None waits without end."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self.begin()

    def begin(self) -> None:
        """Begin to wait for the next one."""
        self._until_s = None if self._timeout_s is None else CLOCK.monotonic_s() + self._timeout_s

    @property
    def remaining_s(self) -> float:
        """How long there is still to wait, in seconds."""
        return float("inf") if self._until_s is None else self._until_s - CLOCK.monotonic_s()


class Changes:
    """Subscriptions to channels of the Redis of the results. Not thread-safe; close it after use.

    Args:
        results: Knows that Redis.
    """

    def __init__(self, results: ResultReader) -> None:
        self._results = results
        self._subscription = results.subscription()
        self._outage_since: float | None = None

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe to channels. What was published before is to be read afterwards.

        Raises:
            ResultsUnavailable: Redis did not answer for too long.
        """
        names = [*channels]
        for first in range(0, len(names), _CHANNELS):
            self._on_connection("subscribe", *names[first : first + _CHANNELS])

    def unsubscribe(self, channel: bytes) -> None:
        """Receive nothing of a channel any more."""
        self._on_connection("unsubscribe", channel)

    def run(self, make_steps: Callable[[], Steps[_T]]) -> _T:
        """Run steps of results, and return what they return. While Redis is away, run them again.

        Raises:
            ResultsUnavailable: Redis did not answer for too long.
        """
        return self.read(lambda: self._results.run(make_steps()))

    def read(self, call: Callable[[], _T]) -> _T:
        """Return what a function reads. While Redis is away, call it again.

        Raises:
            ResultsUnavailable: Redis did not answer for too long.
        """
        while True:
            try:
                found = call()
            except ResultsUnavailable as error:
                self._pause(error)
            else:
                self._outage_since = None
                return found

    def wait(self, timeout_s: float) -> tuple[bytes, bytes] | None:
        """Wait for the next message, for at most two seconds; return its channel and its data, or
        None if there was none in time. Then messages may have been missed.

        Raises:
            ResultsUnavailable: Redis did not answer for too long.
        """
        end_s = CLOCK.monotonic_s() + min(timeout_s, _POLL_INTERVAL_S)
        while (remaining_s := end_s - CLOCK.monotonic_s()) > 0:
            try:
                message = self._subscription.get_message(timeout=remaining_s)
            except _CONNECTION_ERRORS as error:
                self._pause(error)
                return None
            self._outage_since = None
            if message is not None:
                return message["channel"], message["data"]
        return None

    def drain(self) -> None:
        """Drop the messages that have arrived: what they tell is about to be read."""
        try:
            while self._subscription.get_message(timeout=0) is not None:
                pass
        except _CONNECTION_ERRORS as error:
            self._pause(error)

    def close(self) -> None:
        """Give the connection back."""
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _on_connection(self, method: str, *channels: bytes) -> None:
        call: Any = getattr(self._subscription, method)
        while True:
            try:
                call(*channels)
            except _CONNECTION_ERRORS as error:
                self._pause(error)
            else:
                return

    def _pause(self, error: Exception) -> None:
        """Wait a little before Redis is asked again."""
        now_s = CLOCK.monotonic_s()
        self._outage_since = self._outage_since or now_s
        if now_s - self._outage_since > _MAX_OUTAGE_S:
            raise ResultsUnavailable(
                "Redis went away while waiting for outcomes; the jobs are not affected"
            ) from error
        self._results.perform(Pause(_OUTAGE_PAUSE_S))
