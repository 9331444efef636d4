"""Celery's result backends, with clients that go on at `maxmemory` where that is permitted. They
count the jobs of batches that Celery finishes, in the step that stores their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.backends import redis as stock

from sentq_worker.broker.at_maxmemory.clients import RepeatingRedis
from sentq_worker.broker.batches.backend import BatchCountingBackend

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["WorkerRedisBackend", "WorkerSentinelBackend", "use_worker_backends"]


class WorkerRedisBackend(BatchCountingBackend):
    """Stores results in Redis."""

    def _get_client(self) -> type[RepeatingRedis]:
        return RepeatingRedis


class WorkerSentinelBackend(stock.SentinelBackend, BatchCountingBackend):
    """Stores results in the Redis that Sentinel names."""

    def _get_client(self) -> type[RepeatingRedis]:
        return RepeatingRedis


def use_worker_backends(app: Celery) -> None:
    """Let an app store its results with these backends. Call it before the app has one."""
    redis_backend = f"{__name__}:{WorkerRedisBackend.__name__}"
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": redis_backend,
        "rediss": redis_backend,
        "sentinel": f"{__name__}:{WorkerSentinelBackend.__name__}",
    }
