"""A worker with the bundled model, and its Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["bundled_worker"]


@contextmanager
def bundled_worker(folder: Path, **variables: str) -> Iterator[str]:
    """Run both for the block, the worker with these variables; yield the URL of Redis."""
    server = RedisProcess(redis_program(), folder).start()
    # The scores that documents show are the same in bfloat16, to two digits.
    settings = {"SENTQ_WORKER_DTYPE": "float32", "SENTQ_WORKER_THREADS": "1"}
    worker = WorkerProcess(folder, {"SENTQ_BROKER_URL": server.url, **settings, **variables})
    try:
        worker.wait_until_ready()
        yield server.url
    finally:
        worker.stop()
        server.stop()
