"""What tests of Celery's own features run on: a Redis, a gated worker of ours, a stock client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import redis
from celery import Celery

from sentq.dev.embedded import find_redis_server
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.workers.gated import release, scored
from tests.support.workers.other_app import QUEUE

__all__ = ["NAME", "Site", "run_site", "start_followup", "start_gated", "stock_app"]

#: The worker's name, by which the stock client speaks to it alone.
NAME: Final = "sentq@test"

_QUIET: Final = ("--loglevel", "INFO", "--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Site:
    """The parts, and the phrases that tests are made of."""

    server: RedisProcess
    worker: WorkerProcess
    #: Somebody else's Celery app, which knows nothing of sentq.
    stock: Celery
    redis: redis.Redis

    def score(self, *texts: str, **options: Any) -> Any:
        """Send a job as any Celery application may."""
        options = {"args": [list(texts)], "queue": "sentq"} | options
        return self.stock.send_task("sentq.score", **options)

    def signature(self, *texts: str, **options: Any) -> Any:
        """The same job, as a part of a canvas."""
        options = {"args": (list(texts),), "queue": "sentq"} | options
        return self.stock.signature("sentq.score", **options)

    def followup(self, name: str, *args: Any, **options: Any) -> Any:
        """A task of the stock worker, as a part of a canvas."""
        options = {"args": args, "queue": QUEUE} | options
        return self.stock.signature(f"followup.{name}", **options)

    def ask(self, question: str, *args: Any) -> Any:
        """What `celery inspect` has from the worker, as soon as it answers."""
        inspect = self.stock.control.inspect(destination=[NAME], timeout=10)
        answer = getattr(inspect, question)(*args)
        assert answer is not None, f"no answer to {question}: {self.worker.log[-3000:]}"
        return answer[NAME]

    def control(self, command: str, *args: Any) -> Any:
        """What the worker answers to `celery control`."""
        tell = getattr(self.stock.control, command)
        (answer,) = tell(*args, destination=[NAME], reply=True, timeout=10)
        return answer[NAME]

    def revoke(self, job_id: str) -> None:
        """Revoke a job, and see that the worker knows."""
        self.stock.control.revoke(job_id)
        eventually(lambda: job_id in self.ask("revoked"), what="the revocation")

    @contextmanager
    def engine_held(self, name: str) -> Iterator[Any]:
        """Keep the engine busy with a job, which the context gets."""
        job = self.score(f"hold:{name}")
        eventually(lambda: self.was_scored(f"hold:{name}"), what="a busy engine")
        try:
            yield job
        finally:
            release(self.redis, name)

    def was_scored(self, text: str) -> bool:
        """Whether this text went into the engine."""
        return text in scored(self.redis)

    def pop(self, key: str) -> Any:
        """Take the document that is next in a list; None where there is none."""
        raw = cast("bytes | None", self.redis.rpop(key))
        return None if raw is None else json.loads(raw)

    def pop_letter(self) -> DeadLetter | None:
        """Take the oldest dead letter; None where there is none."""
        for entry_id, fields in cast("Any", self.redis.xrange(DEAD_LETTERS_KEY, count=1)):
            self.redis.xdel(DEAD_LETTERS_KEY, entry_id)
            return parse_dead_letter(entry_id, fields)
        return None

    def is_settled(self) -> bool:
        """Whether nothing is taken and not acknowledged."""
        return not self.redis.hlen("unacked") and not self.redis.zcard("unacked_index")


@contextmanager
def run_site(folder: Path, *options: str, exit_code: int = 0, **environment: str) -> Iterator[Site]:
    """Start all of it, the worker with these options; stop it, and see that the worker ended in
    good order, or with the exit code that is given."""
    with ExitStack() as stack:
        server = RedisProcess(find_redis_server(), folder).start()
        stack.callback(server.stop)
        worker = start_gated(folder, server.url, *options, **environment)
        stack.callback(_end, worker)
        stock = stack.enter_context(stock_app(server.url))
        client = stack.enter_context(server.client())
        worker.wait_until_ready()
        yield Site(server, worker, stock, client)
        assert worker.stop() == exit_code


@contextmanager
def stock_app(url: str) -> Iterator[Celery]:
    """Somebody's Celery app. Its results may outlive it, in the traceback of a failure."""
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as stock:
        try:
            yield stock
        finally:
            listener = stock.backend.result_consumer
            listener.stop()
            # A result that is collected later would tell Redis so, which is gone by then.
            listener._pubsub = None
            stock.backend.client.close()


def start_gated(folder: Path, url: str, *options: str, **environment: str) -> WorkerProcess:
    """Start a worker of ours whose engine is gated."""
    command = (
        "celery",
        "-A",
        "tests.support.workers.gated",
        "worker",
        "--hostname",
        NAME,
        *_QUIET,
        *options,
    )
    return WorkerProcess(folder, {"SENTQ_BROKER_URL": url} | environment, command)


def start_followup(folder: Path, url: str) -> WorkerProcess:
    """Start a stock worker."""
    command = ("celery", "-A", "tests.support.workers.other_app", "worker", "-P", "solo", *_QUIET)
    return WorkerProcess(folder, {"FOLLOWUP_URL": url}, command)


def _end(worker: WorkerProcess) -> None:
    with suppress(Exception):  # A test failed already, and says why.
        worker.stop()
