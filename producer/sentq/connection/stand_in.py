"""What may take the place of Redis for all clients of this process: the test kit, `sentq.testing`.

    client ── steps ──▶ driver ──┬─▶ Redis
                                 └─▶ the stand-in, while one is installed

Nothing else of a client differs: its checks, messages, keys, steps, errors, and how it reads
results. It is one for the whole process, because applications make their clients themselves, often
when a module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from sentq.wire.steps import Request

__all__ = ["StandIn", "StandInSubscription", "installed", "stand_in"]


class StandInSubscription(Protocol):
    """Receives what is published, as the `PubSub` of redis-py does."""

    def subscribe(self, *channels: bytes) -> None:
        """Receive the messages of channels, too."""

    def unsubscribe(self, *channels: bytes) -> None:
        """Receive nothing more from channels."""

    def get_message(self, timeout: float) -> dict[str, Any] | None:
        """Return the next message, or None if nothing comes within so many seconds."""

    def close(self) -> None:
        """Receive nothing more."""


class StandIn(Protocol):
    """Does what steps request, as Redis and the network would."""

    def perform(self, request: Request) -> Any:
        """Do what steps request, except to wait for a message; return the reply of redis-py.

        It blocks for a `Pause` only.

        Raises:
            redis.RedisError: As redis-py does, if Redis is to be unavailable.
        """

    def subscription(self, wake: Callable[[], None] | None = None) -> StandInSubscription:
        """Return a subscription to no channel yet.

        Args:
            wake: Is called, from any thread, when `get_message` may have something to return or
                to raise, and when time has passed.
        """

    def skips_wait(self, seconds: float) -> bool:
        """Let the time of a task's wait pass at once, if a test wants that; return whether it did.

        A `StandInSubscription` does so by itself when it blocks.
        """


_installed: Final[list[StandIn]] = []


def stand_in() -> StandIn | None:
    """Return what takes the place of Redis; None stands for Redis itself."""
    return _installed[-1] if _installed else None


@contextmanager
def installed(stand_in: StandIn) -> Iterator[None]:
    """Let a stand-in take the place of Redis for the block.

    Raises:
        RuntimeError: There is one already.
    """
    if _installed:
        raise RuntimeError("a test kit of sentq is active already: use that one, or end it first")
    _installed.append(stand_in)
    try:
        yield
    finally:
        _installed.remove(stand_in)
