"""Celery's result backends, with clients that go on at `maxmemory` where that is permitted. They
count the jobs of batches that Celery finishes, and publish their callbacks, in the step that stores
their results.

A worker publishes groups, and waits for none of them. But Celery subscribes to the result of each
task of a group, and reads what Redis replies only in a process that waits. So each task would cost
a worker's memory a few hundred bytes for good, and a message of a hostile sender has 500 of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery.backends import redis as stock

from sentq_worker.broker.at_maxmemory.clients import RepeatingRedis
from sentq_worker.broker.batches.backend import FollowedUpBackend

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult

__all__ = [
    "WorkerRedisBackend",
    "WorkerSentinelBackend",
    "use_worker_backends",
    "without_subscriptions",
]


class _Subscriptions(threading.local):
    are_made = True


_SUBSCRIPTIONS: Final = _Subscriptions()


@contextmanager
def without_subscriptions() -> Iterator[None]:
    """Subscribe to no results for the block: this thread waits for none of what it publishes."""
    before, _SUBSCRIPTIONS.are_made = _SUBSCRIPTIONS.are_made, False
    try:
        yield
    finally:
        _SUBSCRIPTIONS.are_made = before


class WorkerRedisBackend(FollowedUpBackend):
    """Stores results in Redis."""

    def _get_client(self) -> type[RepeatingRedis]:
        return RepeatingRedis

    def add_pending_result(self, result: AsyncResult, **options: Any) -> AsyncResult:
        """Subscribe to a result. Celery calls this for each task of a group, too."""
        return super().add_pending_result(result, **options) if _SUBSCRIPTIONS.are_made else result


class WorkerSentinelBackend(stock.SentinelBackend, WorkerRedisBackend):
    """Stores results in the Redis that Sentinel names."""


def use_worker_backends(app: Celery) -> None:
    """Let an app store its results with these backends. Call it before the app has one."""
    redis_backend = f"{__name__}:{WorkerRedisBackend.__name__}"
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": redis_backend,
        "rediss": redis_backend,
        "sentinel": f"{__name__}:{WorkerSentinelBackend.__name__}",
    }
