"""One connection that subscribes to the channels of all jobs that callers of a loop wait for.

    Listener.subscribe ──▶ channels that changed ── writer ──▶ SUBSCRIBE, UNSUBSCRIBE
    Listener.next      ◀── messages              ◀── reader ──

A task owns the connection. If it is lost, each listener gets the error, subscribes anew and reads
the document of its job again: the task keeps no state that could be wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Final

import redis

from sentq.aio.commands import ConnectionsClosed, pack
from sentq.aio.servers import BROKEN, RedisServer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


__all__ = ["Listener", "Notices"]

#: The most channels of one command.
_CHANNELS_PER_COMMAND: Final = 1000

#: After so many messages that have arrived together, other tasks may run.
_MESSAGES_PER_TURN: Final = 64

_PING: Final = pack(("PING",))


class Listener:
    """Receives the messages of one channel, for one caller.

    Args:
        notices: The connection.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._channel: bytes | None = None
        self._messages: deque[bytes] = deque()
        self._error: Exception | None = None
        self._is_subscribed = False
        self._waiter: asyncio.Future[None] | None = None

    async def subscribe(self, channel: bytes) -> None:
        """Subscribe to a channel, in place of the one before; return when Redis has done so.

        Raises:
            redis.RedisError: Redis did not answer, or refused.
            ConnectionsClosed: There are no connections any more.
        """
        self.close()
        self._channel = channel
        self._notices.add(channel, self)
        if self._is_subscribed or await self._wait(self._notices.timeout_s):
            return
        error = redis.TimeoutError("Redis did not answer in time")
        self._notices.drop_connection(error)
        raise error

    async def next(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if nothing comes within so many seconds.

        Raises:
            redis.RedisError: The connection was lost, and the subscription with it.
            ConnectionsClosed: There are no connections any more.
        """
        if not self._messages:
            await self._wait(timeout_s)
        return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        """End the subscription."""
        if self._channel is not None:
            self._notices.remove(self._channel, self)
        self._channel, self._error, self._is_subscribed = None, None, False
        self._messages.clear()

    async def _wait(self, timeout_s: float) -> bool:
        """Wait until something happens; return whether it did within so many seconds."""
        if self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(None if timeout_s == float("inf") else timeout_s):
                    await self._waiter
            except TimeoutError:
                return False
            finally:
                self._waiter = None
        if self._error is not None:
            raise self._error
        return True

    def subscribed(self) -> None:
        """Record that Redis has subscribed. The connection calls this."""
        if not self._is_subscribed:
            self._is_subscribed = True
            self._wake()

    def receive(self, message: bytes) -> None:
        """Take a message. The connection calls this."""
        self._messages.append(message)
        self._wake()

    def fail(self, error: Exception) -> None:
        """Record that the subscription is lost. The connection calls this."""
        self._channel, self._error = None, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Notices:
    """The subscriptions of all listeners of one event loop.

    Args:
        server: Makes the connection, when the first listener comes and after each loss.

    Attributes:
        timeout_s: How long Redis may take to subscribe, in seconds.
    """

    def __init__(self, server: RedisServer) -> None:
        self.timeout_s = server.timeout_s
        self._server = server
        self._listeners: dict[bytes, set[Listener]] = {}
        #: Channels whose listeners came or went since the writer wrote last.
        self._changed: set[bytes] = set()
        self._has_changed = asyncio.Event()
        self._sent: set[bytes] = set()
        #: How many replies to SUBSCRIBE are to come, by channel.
        self._unconfirmed: Counter[bytes] = Counter()
        self._is_ping_due = False
        self._lost: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether there are no connections any more."""
        return self._is_closed

    def listener(self) -> Listener:
        """Return a listener, which is not subscribed to anything yet."""
        return Listener(self)

    def add(self, channel: bytes, listener: Listener) -> None:
        """Let a listener receive the messages of a channel.

        Raises:
            ConnectionsClosed: There are no connections any more.
        """
        if self._is_closed:
            raise ConnectionsClosed
        self._listeners.setdefault(channel, set()).add(listener)
        if channel in self._sent and not self._unconfirmed[channel]:
            listener.subscribed()
        self._mark(channel)
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="sentq-notices")

    def remove(self, channel: bytes, listener: Listener) -> None:
        """Let a listener receive nothing more."""
        listeners = self._listeners.get(channel, set())
        listeners.discard(listener)
        if not listeners and self._listeners.pop(channel, None) is not None:
            self._mark(channel)

    def drop_connection(self, error: Exception) -> None:
        """Give the connection up, because it does not reply."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(error)

    async def aclose(self) -> None:
        """Close the connection. Listeners that wait end with `ConnectionsClosed`."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _mark(self, channel: bytes) -> None:
        self._changed.add(channel)
        self._has_changed.set()

    async def _serve(self) -> None:
        try:
            while True:
                await self._has_changed.wait()
                try:
                    await self._talk()
                except (redis.RedisError, *BROKEN) as error:
                    is_known = isinstance(error, redis.RedisError)
                    self._fail_all(type(error) if is_known else redis.ConnectionError, *error.args)
        finally:
            self._is_closed = True
            self._fail_all(ConnectionsClosed)

    def _fail_all(self, error: type[Exception], *arguments: object) -> None:
        """Forget all subscriptions, and tell the listeners."""
        listeners = [each for some in self._listeners.values() for each in some]
        self._listeners.clear()
        self._changed.clear()
        self._has_changed.clear()
        self._sent.clear()
        self._unconfirmed.clear()
        for each in listeners:
            each.fail(error(*arguments))

    async def _talk(self) -> None:
        """Write and read on a new connection until it is lost.

        Raises:
            redis.RedisError, OSError, RuntimeError: It is lost.
        """
        connection = await self._server.connect()
        self._lost = asyncio.get_running_loop().create_future()
        tasks = [
            asyncio.create_task(self._write(connection), name="sentq-notices-write"),
            asyncio.create_task(self._read(connection), name="sentq-notices-read"),
        ]
        try:
            done, _ = await asyncio.wait((*tasks, self._lost), return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for task in tasks:
                task.cancel()
            self._lost.cancel()
            await asyncio.gather(*tasks, self._lost, return_exceptions=True)
            await self._server.disconnect(connection, is_lost=not self._is_closed)

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            changed, self._changed = self._changed, set()
            new = [each for each in changed if each in self._listeners and each not in self._sent]
            old = [each for each in changed if each in self._sent and each not in self._listeners]
            self._sent.update(new)
            self._sent.difference_update(old)
            self._unconfirmed.update(new)
            packed = [*_commands("SUBSCRIBE", new), *_commands("UNSUBSCRIBE", old)]
            if self._is_ping_due:
                packed.append(_PING)
                self._is_ping_due = False
            if packed:
                await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        has_pinged = False
        for number in count(1):
            if number % _MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
            reply = await connection.read_response(timeout=self.timeout_s)
            if reply is not None:
                has_pinged = False
                self._dispatch(reply)
            elif has_pinged:
                raise redis.TimeoutError("Redis did not answer in time")
            elif self._listeners:
                # A half-open connection delivers nothing, and raises no error.
                has_pinged = self._is_ping_due = True
                self._has_changed.set()

    def _dispatch(self, reply: object) -> None:
        match reply:
            case [b"message", bytes(channel), bytes(data)]:
                for listener in tuple(self._listeners.get(channel, ())):
                    listener.receive(data)
            case [b"subscribe", bytes(channel), _]:
                self._unconfirmed[channel] -= 1
                if self._unconfirmed[channel] <= 0:
                    del self._unconfirmed[channel]
                    for listener in self._listeners.get(channel, ()):
                        listener.subscribed()


def _commands(name: str, channels: Iterable[bytes]) -> list[bytes]:
    some = list(channels)
    return [
        pack((name, *some[first : first + _CHANNELS_PER_COMMAND]))
        for first in range(0, len(some), _CHANNELS_PER_COMMAND)
    ]
