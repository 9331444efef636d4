"""The driver of steps for one event loop, and the drivers of all loops that use a client."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import redis

from sentq.aio.commands import ConnectionsClosed
from sentq.aio.links import ChannelListener, Link, RedisLink, StandInLink, drive
from sentq.aio.turns import Turns
from sentq.connection.broker import BrokerKeys, broker_unavailable, run_on_broker
from sentq.connection.stand_in import stand_in
from sentq.errors import BrokerUnavailable, ResultsUnavailable
from sentq.results.backlog import Backlog, backlog_steps
from sentq.results.reader import ResultReader
from sentq.results.steps import Listen, ReadBacklog, Subscribe, results_unavailable
from sentq.wire.steps import Blocking, Request, Steps

__all__ = ["Drivers", "LoopDriver"]

T = TypeVar("T")

#: How long another event loop may take to close its connections, in seconds.
_OTHER_LOOP_S: Final = 5.0

_CLOSED: Final = "the client was closed, or its event loop ends"


class LoopDriver:
    """Runs the steps of a client in one event loop.

    Args:
        results: The steps that read results, and the connections of code that blocks.
        link: Carries the requests.
        in_thread: Calls code that blocks.
    """

    def __init__(
        self,
        results: ResultReader,
        link: Link,
        *,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._results = results
        self._in_thread = in_thread
        self._link = link
        self._turns = Turns()
        self._backlog: asyncio.Task[Backlog] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it can be used no longer."""
        return self._link.is_closed

    async def run(self, steps: Steps[T]) -> T:
        """Run steps of results, which may wait for a job, to their end.

        Raises:
            ResultsUnavailable: The client was closed meanwhile, or Redis refused a subscription.
        """
        listener = self._link.listener()
        try:
            await self._turns.begin()
            return await drive(steps, partial(self._perform, listener))
        except ConnectionsClosed:
            raise ResultsUnavailable(_CLOSED) from None
        except redis.RedisError as error:
            raise results_unavailable(error) from error
        finally:
            listener.close()

    async def run_on_broker(self, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
        """Run steps in the broker's Redis: in this loop if it is that of the results too.

        Args:
            make_steps: Makes the steps for these keys.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        if not self._results.is_single_redis:
            app = self._results.app
            found: T = await self._in_thread(partial(run_on_broker, app, make_steps))
            return found
        try:
            return await drive(make_steps(BrokerKeys()), self._perform_in_redis)
        except ConnectionsClosed:
            raise BrokerUnavailable(_CLOSED) from None
        except redis.RedisError as error:
            raise broker_unavailable(error) from error

    async def backlog(self) -> Backlog:
        """Return what waits in the queues of the app, and the workers that read them.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        queues = [queue.name for queue in self._results.app.conf.task_queues]
        return await self.run_on_broker(lambda broker: backlog_steps(queues, broker.prefix))

    async def aclose(self) -> None:
        """Close the connections. Callers that wait end with an error."""
        if self._backlog is not None:
            self._backlog.cancel()
        await self._link.aclose()

    async def _perform(self, listener: ChannelListener, request: Request) -> Any:
        """Do what steps of results request, and return the reply."""
        match request:
            case Subscribe(channel):
                return await listener.subscribe(channel)
            case Listen(seconds):
                return await listener.next(seconds)
            case ReadBacklog():
                return await self._read_backlog()
        try:
            return await self._perform_in_redis(request)
        except redis.RedisError as error:
            raise results_unavailable(error) from error

    async def _perform_in_redis(self, request: Request) -> Any:
        if isinstance(request, Blocking):
            return await self._in_thread(request.call)
        return await self._link.perform(request)

    async def _read_backlog(self) -> Backlog:
        """Read the backlog once for all callers whose time-outs pass together."""
        if self._backlog is None or self._backlog.done():
            self._backlog = asyncio.create_task(self.backlog(), name="sentq-backlog")
        return await asyncio.shield(self._backlog)


class Drivers:
    """The drivers of a client, one for each event loop that uses it.

    Args:
        results: The steps that read results, and the connections of code that blocks.
    """

    def __init__(self, results: ResultReader) -> None:
        self._results = results
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopDriver] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def current(self) -> LoopDriver:
        """Return the driver of the running event loop."""
        in_place = stand_in()
        if in_place is not None:
            return LoopDriver(self._results, StandInLink(in_place), in_thread=self.in_thread)
        loop = asyncio.get_running_loop()
        driver = self._by_loop.get(loop)
        if driver is None or driver.is_closed:
            if driver is not None:
                self._end(driver, loop)
            link = RedisLink(self._results.app)
            driver = LoopDriver(self._results, link, in_thread=self.in_thread)
            with self._lock:
                for ended in [each for each in self._by_loop if each.is_closed()]:
                    del self._by_loop[ended]
                self._by_loop[loop] = driver
        return driver

    def _end(self, driver: LoopDriver, loop: asyncio.AbstractEventLoop) -> None:
        """Close a driver of which one connection has failed: the other may be open."""
        task = loop.create_task(driver.aclose(), name="sentq-end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Call code that blocks, such as Celery's, in the one thread that does so."""
        # Tracing libraries keep the current span in the context.
        in_context = partial(contextvars.copy_context().run, call)
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="sentq-celery")
            future = self._thread.submit(in_context)
        return await asyncio.wrap_future(future)

    async def aclose(self) -> None:
        """Close all connections, also of event loops that run in other threads.

        A loop that has ended has cancelled the tasks of its driver, which closed theirs.
        """
        here = asyncio.get_running_loop()
        if ending := [each for each in self._ending if each.get_loop() is here]:
            await asyncio.wait(ending)
        with self._lock:
            drivers = {loop: each for loop, each in self._by_loop.items() if loop.is_running()}
            for loop in drivers:
                del self._by_loop[loop]
            thread, self._thread = self._thread, None
        for loop, driver in drivers.items():
            if loop is here:
                await driver.aclose()
            else:
                closing = asyncio.run_coroutine_threadsafe(driver.aclose(), loop)
                # It may end now, and run nothing more.
                await asyncio.wait([asyncio.wrap_future(closing)], timeout=_OTHER_LOOP_S)
        if thread is not None:
            await asyncio.wrap_future(thread.submit(self._results.close))
            thread.shutdown(wait=False)
