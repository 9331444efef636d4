"""A private Redis and a worker on this machine, for the time of a block."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sentq.connection.app import make_app
from sentq.dev.embedded import EmbeddedRedis, find_redis_server
from sentq.dev.processes import last_lines, start_module, stop
from sentq.errors import SentqError
from sentq.settings import Settings

__all__ = ["Stack", "WorkerDidNotStart", "local_stack", "local_worker"]

#: torch alone can take half a minute to import from a cold disk.
_READY_TIMEOUT_S: Final = 180.0

#: The worker's own grace period, and a margin.
_STOP_TIMEOUT_S: Final = 20.0


class WorkerDidNotStart(SentqError):
    """The worker ended, or was not ready in time. Its log has the reason."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The running processes: their settings, their folder, and the worker's log."""

    settings: Settings
    folder: Path
    worker: subprocess.Popen[bytes]
    worker_log: Path

    @property
    def broker_url(self) -> str:
        """The value for `SENTQ_BROKER_URL`."""
        return self.settings.broker_url.get_secret_value()


@contextmanager
def local_stack(
    folder: Path,
    *,
    redis_server: Path | None = None,
    worker_options: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Stack]:
    """Start Redis and a worker for the block; stop both at its end, the worker first.

    Args:
        folder: The folder for the data of Redis and for both logs.
        redis_server: The server to start; None for the first one found.
        worker_options: Options of `sentq-worker`.
        environment: Variables for the worker. Those of this process override them.
        say: Receives progress messages, one line each.

    Raises:
        NoRedisFound, RedisDidNotStart, WorkerDidNotStart: The message says what to do.
    """
    environment = {**(environment or {}), **os.environ}
    _require_worker(environment)
    server = find_redis_server(redis_server)
    with EmbeddedRedis(folder, server) as database:
        say(f"Redis is running ({server})")
        settings = Settings.load(broker_url=database.url, result_url=database.url)
        with local_worker(settings, folder, worker_options, environment, say=say) as stack:
            yield stack


@contextmanager
def local_worker(
    settings: Settings,
    folder: Path,
    options: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Stack]:
    """Start a worker of a Redis for the block, and stop it at its end.

    Args:
        settings: The Redis, with messages and results in one database, and the queues.
        folder: The folder for the log.
        options: Options of `sentq-worker`.
        environment: All variables for the worker but those of the settings; None takes those of
            this process.
        say: Receives progress messages, one line each.

    Raises:
        WorkerDidNotStart: The message says what to do.
    """
    environment = dict(os.environ if environment is None else environment)
    _require_worker(environment)
    log = folder / "worker.log"
    worker = _start_worker(settings, log, options, environment)
    try:
        say("the worker loads its model")
        _wait_until_ready(settings, worker, log)
        yield Stack(settings, folder, worker, log)
    finally:
        stop(worker, within_s=_STOP_TIMEOUT_S)


def _require_worker(environment: Mapping[str, str]) -> None:
    needed = "huggingface_hub" if environment.get("SENTQ_WORKER_PROVIDER") == "hub" else "torch"
    if find_spec("sentq_worker") is None or find_spec(needed) is None:
        raise WorkerDidNotStart(
            'the worker is not installed here: pip install "sentq[worker,model]"'
        )


def _start_worker(
    settings: Settings, log: Path, options: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    url = settings.broker_url.get_secret_value()
    environment = {
        **environment,
        "SENTQ_BROKER_URL": url,
        "SENTQ_RESULT_URL": url,
        "SENTQ_QUEUE": settings.queue,
        "SENTQ_BULK_QUEUE": settings.bulk_queue,
    }
    return start_module("sentq_worker", *options, log=log, environment=environment)


def _wait_until_ready(settings: Settings, worker: subprocess.Popen[bytes], log: Path) -> None:
    app = make_app(settings)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    try:
        while not app.control.ping(timeout=0.3):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise WorkerDidNotStart(f"the worker did not start ({log}): {last_lines(log)}")
    finally:
        app.close()
