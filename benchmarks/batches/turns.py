"""How fast jobs are sent and scored, by a worker whose engine returns at once. Worker and Redis
share one core; the client has another one, if there is one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.queue import SENTQ, SETTINGS
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["TEXT", "rates"]

#: The text of each job.
TEXT: Final = (
    "A hundred characters of plain English, as a short review of a film may be written, at length."
)


def rates(
    server: RedisProcess, folder: Path, send: Callable[[], object], jobs: int
) -> tuple[float, float]:
    """Return how many jobs a second are sent, and scored.

    Args:
        server: Redis. It is emptied.
        folder: Where the worker runs.
        send: Sends the jobs into the bulk queue.
        jobs: How many it sends.
    """
    cores = sorted(os.sched_getaffinity(0))
    if server.process is not None:
        os.sched_setaffinity(server.process.pid, {cores[0]})
    with server.client() as redis:
        redis.flushall()
    started = time.perf_counter()
    send()
    return jobs / (time.perf_counter() - started), _scored_per_s(server, folder, jobs)


def _scored_per_s(server: RedisProcess, folder: Path, jobs: int) -> float:
    environment = {"SENTQ_BROKER_URL": server.url, **SETTINGS}
    with server.client() as redis:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})  # The worker inherits it.
        worker = WorkerProcess(folder, environment, SENTQ)
        os.sched_setaffinity(0, {max(cores)})
        try:
            left = jobs
            while left == jobs:
                time.sleep(0.001)
                left = int(redis.llen("sentq.bulk"))
            started = time.perf_counter()
            while redis.llen("sentq.bulk") or redis.hlen("unacked"):
                time.sleep(0.002)
            return left / (time.perf_counter() - started)
        finally:
            os.sched_setaffinity(0, cores)
            worker.stop()
