"""The channels of an in-memory Redis: who receives what is published, in any thread or loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from sentq.testing.memory.commands import to_bytes
from sentq.wire.clock import CLOCK

__all__ = ["MemoryChannels", "MemorySubscription", "WaitPolicy"]

#: Called with the seconds that a blocking wait has left. Returns whether they have passed, without
#: real time; it may raise instead.
WaitPolicy = Callable[[float], bool]


class MemoryChannels:
    """All subscriptions.

    Args:
        lock: Guards everything of the stand-in.
        check: Raises the error of a lost connection while Redis is to be unavailable.
        pass_time: Whether, and how, the time of a blocking wait passes at once.
    """

    def __init__(
        self, lock: threading.RLock, *, check: Callable[[], None], pass_time: WaitPolicy
    ) -> None:
        self.changed = threading.Condition(lock)
        self.check = check
        self.pass_time = pass_time
        self._subscriptions: dict[MemorySubscription, None] = {}

    def publish(self, channel: bytes, data: bytes) -> int:
        """Deliver a message; return how many subscriptions received it."""
        receivers = [each for each in self._subscriptions if channel in each.channels]
        for each in receivers:
            each.receive(channel, data)
        self.wake_all()
        return len(receivers)

    def wake_all(self) -> None:
        """Let everything that waits look at its messages, at Redis and at the clock again."""
        with self.changed:
            self.changed.notify_all()
            for each in tuple(self._subscriptions):
                each.wake()

    def pause(self, seconds: float) -> None:
        """Wait for so many seconds."""
        end_s = CLOCK.monotonic_s() + seconds
        with self.changed:
            while (left_s := end_s - CLOCK.monotonic_s()) > 0:
                if not self.pass_time(left_s):
                    self.changed.wait(min(left_s, threading.TIMEOUT_MAX))

    def subscription(self, wake: Callable[[], None] | None) -> MemorySubscription:
        """Return a subscription to no channel yet; see `StandIn.subscription`."""
        subscription = MemorySubscription(self, wake)
        with self.changed:
            self._subscriptions[subscription] = None
        return subscription

    def remove(self, subscription: MemorySubscription) -> None:
        """Deliver nothing more to a subscription."""
        with self.changed:
            self._subscriptions.pop(subscription, None)


class MemorySubscription:
    """A subscription to channels, in the form of the `PubSub` of redis-py."""

    def __init__(self, channels: MemoryChannels, wake: Callable[[], None] | None) -> None:
        self._all = channels
        self._wake = wake
        self._messages: deque[dict[str, Any]] = deque()
        #: The names of channels in the kit, and as they were subscribed to.
        self.channels: dict[bytes, bytes] = {}

    def subscribe(self, *channels: bytes) -> None:
        """Receive the messages of channels, too.

        Raises:
            redis.ConnectionError: Redis is to be unavailable.
        """
        with self._all.changed:
            self._all.check()
            self.channels.update({to_bytes(each): each for each in channels})

    def unsubscribe(self, *channels: bytes) -> None:
        """Receive nothing more from channels."""
        with self._all.changed:
            for each in channels:
                self.channels.pop(to_bytes(each), None)

    def get_message(self, timeout: float) -> dict[str, Any] | None:
        """Return the next message, or None if nothing comes within so many seconds.

        Raises:
            redis.ConnectionError: Redis is to be unavailable.
        """
        end_s = CLOCK.monotonic_s() + timeout
        with self._all.changed:
            while True:
                self._all.check()
                if self._messages:
                    return self._messages.popleft()
                left_s = end_s - CLOCK.monotonic_s()
                if left_s <= 0:
                    return None
                if not self._all.pass_time(left_s):
                    self._all.changed.wait(min(left_s, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Receive nothing more."""
        self._all.remove(self)

    def receive(self, channel: bytes, data: bytes) -> None:
        """Take a message. The channels call this."""
        named = self.channels[channel]
        self._messages.append({"type": "message", "channel": named, "data": data})

    def wake(self) -> None:
        """Say that something may have changed. The channels call this."""
        if self._wake is not None:
            self._wake()
