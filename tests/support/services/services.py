"""The services: what each must be able to do, so that one suite of tests can be run with each."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeAlias

from sentq import Settings
from sentq.testing import Kit
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["KitService", "PublishedCall", "RealWorkerService", "ServiceOfTests"]

#: A task that was published: its name and its arguments.
PublishedCall: TypeAlias = tuple[str, list[Any], dict[str, Any]]


def _names(args: Sequence[Any], wanted: str) -> bool:
    first = args[0]
    return bool(wanted == (first["job_id"] if isinstance(first, dict) else first))


class ServiceOfTests(Protocol):
    """A service of sentq: something in the place of Redis, and a worker."""

    def settings(self, **overrides: object) -> Settings:
        """Return settings that lead a client there."""

    def let_work(self) -> None:
        """Let the jobs that wait be scored. They may be scored later than this returns."""

    def working(self) -> AbstractContextManager[None]:
        """Let jobs be scored as they are submitted, during the block."""

    def waiting(self) -> AbstractContextManager[dict[str, Any]]:
        """Yield settings of clients whose jobs wait during the block."""

    def paused(self) -> AbstractContextManager[None]:
        """Let no worker take jobs during the block; then let those that wait be scored."""

    def unreachable(self) -> AbstractContextManager[dict[str, Any]]:
        """Yield settings of clients that reach no Redis during the block."""

    def full(self) -> AbstractContextManager[None]:
        """Let Redis have no memory during the block."""

    def published(self, first: str) -> list[PublishedCall]:
        """Return the tasks that workers have published into the queue `shop` with this id, or how
        its job ended, as the first argument."""

    def pass_time(self, seconds: float) -> None:
        """Return when so much time has passed for the service."""


class KitService:
    """A mode of the test kit."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    def settings(self, **overrides: object) -> Settings:
        """Return the kit's settings."""
        return Settings.load_over(self._kit.settings, **overrides)

    def let_work(self) -> None:
        """Score the jobs that wait."""
        self._kit.drain()

    def working(self) -> AbstractContextManager[None]:
        """Score each job as it is submitted."""
        return self._kit.running()

    @contextmanager
    def waiting(self) -> Iterator[dict[str, Any]]:
        """Pause the worker: it reads all queues."""
        with self._kit.paused():
            yield {}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the worker."""
        with self._kit.paused():
            yield
        self.let_work()

    @contextmanager
    def unreachable(self) -> Iterator[dict[str, Any]]:
        """Let the broker be down."""
        with self._kit.broker_down():
            yield {}

    def full(self) -> AbstractContextManager[None]:
        """Let Redis be full."""
        return self._kit.redis_full()

    def published(self, first: str) -> list[PublishedCall]:
        """Return what the kit's worker has published."""
        tasks = [each for each in self._kit.published if each.queue == "shop"]
        return [
            (each.task, [*each.args], dict(each.kwargs))
            for each in tasks
            if _names(each.args, first)
        ]

    def pass_time(self, seconds: float) -> None:
        """Set the clock ahead."""
        self._kit.clock.advance(seconds)


class RealWorkerService:
    """A real Redis and a real worker."""

    def __init__(self, redis: RedisProcess, worker: WorkerProcess) -> None:
        self._redis = redis
        self._worker = worker

    def settings(self, **overrides: object) -> Settings:
        """Return settings that lead to Redis."""
        return Settings.load_over(None, **{"broker_url": self._redis.url, **overrides})

    def let_work(self) -> None:
        """The worker does so by itself."""

    def working(self) -> AbstractContextManager[None]:
        """The worker does so by itself."""
        return nullcontext()

    @contextmanager
    def waiting(self) -> Iterator[dict[str, Any]]:
        """Use queues that no worker reads."""
        name = f"unread-{secrets.token_hex(4)}"
        yield {"queue": name, "bulk_queue": f"{name}.bulk"}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process of the worker."""
        self._worker.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._worker.process.send_signal(signal.SIGCONT)

    @contextmanager
    def unreachable(self) -> Iterator[dict[str, Any]]:
        """Name a port at which nothing listens."""
        yield {"broker_url": f"redis://127.0.0.1:{free_port()}/0"}

    @contextmanager
    def full(self) -> Iterator[None]:
        """Set Redis' limit below what it uses."""
        with self._redis.client() as redis:
            redis.config_set("maxmemory", "1")
            try:
                yield
            finally:
                redis.config_set("maxmemory", "0")

    def published(self, first: str) -> list[PublishedCall]:
        """Read the queue, which no worker reads."""
        with self._redis.client() as redis:
            messages = [json.loads(raw) for raw in redis.lrange("shop", 0, -1)]
        found = []
        for message in messages:
            args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
            if _names(args, first):
                found.append((message["headers"]["task"], args, kwargs))
        return found

    def pass_time(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
