"""One connection for the commands of all callers in an event loop.

    callers ── execute ──▶ calls that wait ── one task: write all, read the replies ──▶ futures

The task owns the connection. A caller that is cancelled drops its future only: the reply to its
command is read all the same, so no other caller can get it (redis-py #2624, #2665, #3056). Calls
that gather while a round trip is under way go together in the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis
import redis.asyncio as aioredis

from sentq.aio.servers import BROKEN, RedisServer
from sentq.wire.lua import with_cause

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from sentq.wire.steps import Command

__all__ = ["CommandConnection", "ConnectionsClosed", "pack"]

#: How many calls, and bytes of commands, one round trip has at most. A first call may be larger.
#: All callers of a round trip go on in one turn of the event loop, which then takes some 3 ms.
_CALLS_PER_ROUND_TRIP: Final = 100
_BYTES_PER_ROUND_TRIP: Final = 4 * 1024 * 1024


def pack(command: Command) -> bytes:
    """Return a command in the form that Redis reads."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # says: one argument
    return packed


class ConnectionsClosed(Exception):
    """The client was closed, or its event loop ends."""


@dataclass(slots=True, eq=False)
class _PendingCall:
    """So many commands of one caller, in the form that Redis reads, and who waits for the
    replies."""

    commands: int
    packed: bytes
    future: asyncio.Future[list[Any]]

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _fail(calls: Iterable[_PendingCall], error: Exception) -> None:
    for call in calls:
        # One for each: an exception that many tasks raise would hold the frames of all.
        own = type(error)(*error.args)
        own.__cause__ = error.__cause__
        call.fail(own)


async def _reply(connection: AbstractConnection) -> Any:
    """Read one reply. An error that Redis replies is returned."""
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


class CommandConnection:
    """Runs commands in the Redis of the results, from the tasks of one event loop.

    Args:
        server: Makes the connection, when the first command comes and after each loss.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._connection: AbstractConnection | None = None
        self._waiting: deque[_PendingCall] = deque()
        self._is_waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._callbacks = aioredis.Redis(connection_pool=server.pool).response_callbacks

    async def execute(self, command: Command) -> Any:
        """Run a command and return its reply, as redis-py gives it.

        Raises:
            redis.RedisError: Redis did not answer, or refused.
            ConnectionsClosed: There are no connections any more.
        """
        (reply,) = await self.execute_all([command])
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip, and return their replies in order.

        Raises:
            redis.RedisError: Redis did not answer, or refused one of them; the first error.
            ConnectionsClosed: There are no connections any more.
        """
        if self._is_closed:
            raise ConnectionsClosed
        # Packed here, so that an argument that cannot be encoded fails its caller alone.
        packed = b"".join(pack(command) for command in commands)
        call = _PendingCall(len(commands), packed, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._is_waiting.set()
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="sentq-commands")
        replies = await call.future
        return [self._parsed(*each) for each in zip(commands, replies, strict=True)]

    @property
    def is_closed(self) -> bool:
        """Whether there are no connections any more."""
        return self._is_closed

    async def aclose(self) -> None:
        """Close the connection. Calls that wait end with `ConnectionsClosed`."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _serve(self) -> None:
        calls: list[_PendingCall] = []
        try:
            while True:
                await self._is_waiting.wait()
                calls = self._next_calls()
                await self._send(calls)
        finally:
            self._is_closed = True
            for call in (*calls, *self._waiting):
                call.fail(ConnectionsClosed())
            await self._disconnect(is_lost=False)

    def _next_calls(self) -> list[_PendingCall]:
        """Take calls for one round trip, without those whose callers were cancelled."""
        calls: list[_PendingCall] = []
        size_bytes = 0
        while self._waiting and len(calls) < _CALLS_PER_ROUND_TRIP:
            size_bytes += len(self._waiting[0].packed)
            if calls and size_bytes > _BYTES_PER_ROUND_TRIP:
                break
            call = self._waiting.popleft()
            if not call.future.done():
                calls.append(call)
        if not self._waiting:
            self._is_waiting.clear()
        return calls

    async def _send(self, calls: Sequence[_PendingCall]) -> None:
        """Run calls; those without replies once more on a new connection, if it was broken."""
        if not calls:
            return
        unanswered = deque(calls)
        try:
            try:
                await self._exchange(unanswered)
            except redis.ConnectionError:
                await self._disconnect()
                await self._exchange(unanswered)
        except redis.TimeoutError as error:
            # Redis stood still for all who waited meanwhile, too.
            _fail([*unanswered, *self._waiting], error)
            await self._disconnect()
        except redis.RedisError as error:
            _fail(unanswered, error)
            await self._disconnect()

    async def _exchange(self, unanswered: deque[_PendingCall]) -> None:
        """Write calls and read their replies. Calls that have theirs leave the queue."""
        connection = self._connection = self._connection or await self._server.connect()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._server.timeout_s) as limit:
                await connection.send_packed_command([call.packed for call in unanswered])
                while unanswered:
                    call = unanswered[0]
                    replies = [await _reply(connection) for _ in range(call.commands)]
                    unanswered.popleft()
                    if not call.future.done():
                        call.future.set_result(replies)
                    limit.reschedule(loop.time() + self._server.timeout_s)
        except TimeoutError:
            raise redis.TimeoutError("Redis did not answer in time") from None
        except BROKEN as error:
            raise redis.ConnectionError(str(error)) from error

    def _parsed(self, command: Command, reply: Any) -> Any:
        """Return a reply in the form of redis-py.

        Raises:
            redis.ResponseError: It is an error.
        """
        if isinstance(reply, redis.ResponseError):
            raise with_cause(reply)
        callback = self._callbacks.get(str(command[0]))
        return reply if callback is None else callback(reply)

    async def _disconnect(self, *, is_lost: bool = True) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._server.disconnect(connection, is_lost=is_lost)
