"""The stand-in for Redis: does what steps request, in memory, and fails when a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import redis

from sentq.sending.limits import QueueLimitExceeded, QueueUsage
from sentq.testing.memory.channels import MemoryChannels, MemorySubscription
from sentq.testing.memory.commands import execute_command
from sentq.testing.memory.database import MemoryDatabase
from sentq.testing.memory.scripts import adds_jobs, run_script
from sentq.wire.clock import CLOCK
from sentq.wire.steps import Blocking, Pause, Request, RoundTrip, ScriptCall

__all__ = ["EndlessWait", "Faults", "MemoryServer"]

#: A job is due at a whole millisecond, up to one later than its delay says. A test that lets just
#: this delay pass, within that millisecond, expects it to be due.
_ROUNDING_S: Final = 0.001

#: How much time a wait may skip. One without a time-out would go on for ever.
_MAX_SKIPPED_S: Final = 60 * 60.0


class EndlessWait(AssertionError):
    """A wait without a time-out cannot end: nothing is left that could end it."""


class Faults:
    """What a test wants to fail. Each counts how many blocks want it.

    Attributes:
        broker_down: Redis is not available.
        redis_full: Redis is at its `maxmemory`.
        queue_full: The queues take no more jobs.
        skip_waits: Time that is waited for passes at once.
    """

    def __init__(self) -> None:
        self.broker_down = 0
        self.redis_full = 0
        self.queue_full = 0
        self.skip_waits = 0


class MemoryServer:
    """Takes the place of Redis for all clients of the process. Thread-safe.

    Args:
        work: Does what workers would do after each request, as far as they do it by themselves.
        pushed: Is told each message that is put into a queue, and the key of the queue's list.
    """

    def __init__(self, work: Callable[[], None], pushed: Callable[[bytes, bytes], None]) -> None:
        self.lock: Final = threading.RLock()
        self.faults = Faults()
        self._channels = MemoryChannels(self.lock, check=self._check, pass_time=self._pass_time)
        self.database = MemoryDatabase(self._channels.publish, pushed)
        self._work = work
        self._skipped_s = 0.0

    def perform(self, request: Request) -> Any:
        """Do what steps request, except to wait for a message; see `StandIn.perform`."""
        if isinstance(request, Pause):
            return self._channels.pause(request.seconds)
        if isinstance(request, Blocking):
            return request.call()
        with self.lock:
            self._check()
            reply = self._reply(request)
            self._work()
            return reply

    def subscription(self, wake: Callable[[], None] | None = None) -> MemorySubscription:
        """Return a subscription to no channel yet; see `StandIn.subscription`."""
        self._skipped_s = 0.0  # Each call that waits for an outcome makes one.
        return self._channels.subscription(wake)

    def skips_wait(self, seconds: float) -> bool:
        """Let the time of a wait pass at once, if the test wants that; return whether it did.

        Raises:
            EndlessWait: It has skipped more than an hour.
        """
        if not self.faults.skip_waits:
            return False
        with self.lock:
            self._skip(seconds)
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass, and let workers do what has become due."""
        with self.lock:
            CLOCK.advance(seconds + _ROUNDING_S)
            self.database.drop_expired()
            self._work()
            self._channels.wake_all()

    def wake_all(self) -> None:
        """Let everything that waits look again."""
        self._channels.wake_all()

    def _reply(self, request: Request) -> Any:
        self.database.drop_expired()
        if isinstance(request, tuple):
            return execute_command(self.database, request)
        if isinstance(request, RoundTrip):
            return [execute_command(self.database, command) for command in request.commands]
        if isinstance(request, ScriptCall):
            if adds_jobs(request):
                self._check_capacity(request)
                self._skipped_s = 0.0
            return run_script(self.database, request)
        raise TypeError(f"not a request: {type(request).__name__}")

    def _check(self) -> None:
        if self.faults.broker_down:
            raise redis.ConnectionError("the test kit of sentq lets Redis be down")

    def _check_capacity(self, call: ScriptCall) -> None:
        if self.faults.redis_full:
            raise redis.OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")
        if self.faults.queue_full:
            queue = str(call.keys[0]).encode()
            waiting = QueueUsage(self.database.llen(queue), self.database.list_bytes(queue))
            raise QueueLimitExceeded(waiting, QueueUsage(1, 0))

    def _pass_time(self, seconds: float) -> bool:
        """Let the time of a blocking wait pass at once, if nothing can happen meanwhile."""
        is_alone = threading.active_count() == 1
        if not (is_alone or self.faults.skip_waits):
            return False
        self._skip(seconds)
        return True

    def _skip(self, seconds: float) -> None:
        self._skipped_s += seconds
        if self._skipped_s > _MAX_SKIPPED_S:
            self._skipped_s = 0.0
            raise EndlessWait(
                "a call has waited for an hour of the kit's time, and nothing has ended it: give "
                "it a time-out, or let the jobs be scored first, such as by `drain()`"
            )
        self.advance(seconds)
