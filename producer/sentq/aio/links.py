"""What carries the requests of one event loop: connections to Redis, or what stands in for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sentq.aio.commands import CommandConnection, ConnectionsClosed
from sentq.aio.notices import Notices
from sentq.aio.servers import RedisServer
from sentq.connection.stand_in import StandIn, StandInSubscription
from sentq.wire.clock import CLOCK
from sentq.wire.steps import Pause, Request, RoundTrip, ScriptCall, Steps

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ChannelListener", "Link", "RedisLink", "StandInLink", "drive"]

T = TypeVar("T")


async def drive(steps: Steps[T], perform: Callable[[Request], Awaitable[Any]]) -> T:
    """Run steps to their end, as `run_steps` does for callers that block.

    A cancelled caller, and one whose client is closed, does not go on: the steps are closed.
    """
    try:
        request = next(steps)
        while True:
            try:
                reply = await perform(request)
            except ConnectionsClosed:
                raise
            except Exception as error:  # noqa: BLE001 - the steps decide
                request = steps.throw(error)
            else:
                request = steps.send(reply)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


class ChannelListener(Protocol):
    """Receives the messages of one channel, for one caller."""

    async def subscribe(self, channel: bytes) -> None:
        """Subscribe to a channel, in place of the one before."""

    async def next(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if nothing comes within so many seconds."""

    def close(self) -> None:
        """End the subscription."""


class Link(Protocol):
    """Carries the requests of one event loop.

    Raises, from each method and those of listeners:
        redis.RedisError: Redis did not answer, or refused.
        ConnectionsClosed: It was closed.
    """

    @property
    def is_closed(self) -> bool:
        """Whether it can be used no longer."""

    async def perform(self, request: Request) -> Any:
        """Do what steps request in Redis, or pause; return the reply."""

    def listener(self) -> ChannelListener:
        """Return a listener, which is not subscribed to anything yet."""

    async def aclose(self) -> None:
        """Close it. Callers that wait end with `ConnectionsClosed`."""


class RedisLink:
    """Carries requests to the Redis of the results, on two connections at most.

    Args:
        app: The Celery app of the results.
    """

    def __init__(self, app: Celery) -> None:
        self._server = RedisServer(app)
        self._commands = CommandConnection(self._server)
        self._notices = Notices(self._server)

    @property
    def is_closed(self) -> bool:
        """Whether it can be used no longer."""
        return self._commands.is_closed or self._notices.is_closed

    async def perform(self, request: Request) -> Any:
        """Do what steps request; see `Link.perform`."""
        if isinstance(request, tuple):
            return await self._commands.execute(request)
        match request:
            case ScriptCall(script, keys, arguments):
                return await drive(script.steps(keys, arguments, self._server.pool), self.perform)
            case RoundTrip(commands):
                return await self._commands.execute_all(commands)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
        raise TypeError(f"not a request: {type(request).__name__}")

    def listener(self) -> ChannelListener:
        """Return a listener, which is not subscribed to anything yet."""
        return self._notices.listener()

    async def aclose(self) -> None:
        """Close the connections; see `Link.aclose`."""
        await self._commands.aclose()
        await self._notices.aclose()
        await self._server.aclose()


class StandInLink:
    """Carries requests to what stands in for Redis.

    Args:
        stand_in: Takes the place of Redis. It replies at once, so other tasks run before each
            request.
    """

    is_closed = False

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    async def perform(self, request: Request) -> Any:
        """Do what steps request; see `Link.perform`."""
        if isinstance(request, Pause):
            listener = StandInListener(self._stand_in)
            try:
                return await listener.sleep(request.seconds)
            finally:
                listener.close()
        await asyncio.sleep(0)
        return self._stand_in.perform(request)

    def listener(self) -> ChannelListener:
        """Return a listener, which is not subscribed to anything yet."""
        return StandInListener(self._stand_in)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class StandInListener:
    """Receives the messages of one channel from what stands in for Redis."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._subscription: StandInSubscription | None = None

    async def subscribe(self, channel: bytes) -> None:
        """Subscribe to a channel, in place of the one before."""
        self.close()
        self._subscription = self._stand_in.subscription(self._wake)
        self._subscription.subscribe(channel)
        await asyncio.sleep(0)

    async def next(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if nothing comes within so many seconds."""
        message: dict[str, Any] | None = None
        end_s = CLOCK.monotonic_s() + timeout_s
        while self._subscription is not None:
            self._changed.clear()
            message = self._subscription.get_message(timeout=0)
            if message is not None or not await self._wait_until(end_s):
                break
        return None if message is None else message["data"]

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        self._subscription = self._stand_in.subscription(self._wake)
        end_s = CLOCK.monotonic_s() + seconds
        self._changed.clear()
        while await self._wait_until(end_s):
            self._changed.clear()

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    async def _wait_until(self, end_s: float) -> bool:
        """Wait until something changes, or time has passed; return whether there is time left."""
        await asyncio.sleep(0)
        left_s = end_s - CLOCK.monotonic_s()
        if left_s <= 0:
            return False
        if self._stand_in.skips_wait(left_s):
            return True
        try:
            async with asyncio.timeout(None if left_s == float("inf") else left_s):
                await self._changed.wait()
        except TimeoutError:
            pass
        return True

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:
            return  # The loop has ended.
