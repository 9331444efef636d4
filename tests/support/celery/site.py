"""A Redis, a gated sentq worker and a stock Celery client, for tests of Celery's features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import redis
from celery import Celery

from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.roles.users import without_user
from tests.support.workers.gated import release, scored
from tests.support.workers.other_app import QUEUE

__all__ = [
    "NAME",
    "Site",
    "closing_results",
    "finish_with_successor",
    "run_site",
    "start_followup",
    "start_gated",
    "stock_app",
]

#: The worker's name, the destination of inspect and control commands.
NAME: Final = "sentq@test"

_QUIET: Final = ("--loglevel", "INFO", "--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Site:
    """The running services, and the operations of tests on them."""

    server: RedisProcess
    worker: WorkerProcess
    #: A Celery app without sentq, as another program has it.
    stock: Celery
    #: The same with the user of Flower: it inspects and controls workers, and receives events.
    inspector: Celery
    redis: redis.Redis

    def score(self, *texts: str, **options: Any) -> Any:
        """Send a job as any Celery application can."""
        options = {"args": [list(texts)], "queue": "sentq"} | options
        return self.stock.send_task("sentq.score", **options)

    def signature(self, *texts: str, **options: Any) -> Any:
        """Return the signature of a job, for a canvas."""
        options = {"args": (list(texts),), "queue": "sentq"} | options
        return self.stock.signature("sentq.score", **options)

    def followup(self, name: str, *args: Any, **options: Any) -> Any:
        """Return the signature of a task of the stock worker, for a canvas."""
        options = {"args": args, "queue": QUEUE} | options
        return self.stock.signature(f"followup.{name}", **options)

    def inspect(self, command: str, *args: Any) -> Any:
        """Return the worker's reply to a `celery inspect` command."""
        inspect = self.inspector.control.inspect(destination=[NAME], timeout=10)
        reply = getattr(inspect, command)(*args)
        assert reply is not None, f"no reply to {command}: {self.worker.log[-3000:]}"
        return reply[NAME]

    def control(self, command: str, *args: Any) -> Any:
        """Return the worker's reply to a `celery control` command."""
        send = getattr(self.inspector.control, command)
        (reply,) = send(*args, destination=[NAME], reply=True, timeout=10)
        return reply[NAME]

    def revoke(self, job_id: str) -> None:
        """Revoke a job, and wait until the worker has received the revocation."""
        self.inspector.control.revoke(job_id)
        eventually(lambda: job_id in self.inspect("revoked"), what="the revocation")

    @contextmanager
    def engine_busy(self, name: str) -> Iterator[Any]:
        """Keep the engine busy with a job, and yield that job's result handle."""
        text = f"hold:{name}"
        # An earlier test on this site may have kept the engine busy by the same name.
        earlier_at_s = scored(self.redis).get(text)
        job = self.score(text)
        eventually(lambda: scored(self.redis).get(text) != earlier_at_s, what="a busy engine")
        try:
            yield job
        finally:
            release(self.redis, name)

    def was_scored(self, text: str) -> bool:
        """Whether the engine received this text."""
        return text in scored(self.redis)

    def pop(self, key: str) -> Any:
        """Take the next document of a list, or return None."""
        raw = cast("bytes | None", self.redis.rpop(key))
        return None if raw is None else json.loads(raw)

    def pop_dead_letter(self) -> DeadLetter | None:
        """Take the oldest dead letter, or return None."""
        for entry_id, fields in cast("Any", self.redis.xrange(DEAD_LETTERS_KEY, count=1)):
            self.redis.xdel(DEAD_LETTERS_KEY, entry_id)
            return parse_dead_letter(entry_id, fields)
        return None

    def is_settled(self) -> bool:
        """Whether no message is unacknowledged."""
        return not self.redis.hlen("unacked") and not self.redis.zcard("unacked_index")


@contextmanager
def run_site(folder: Path, *options: str, exit_code: int = 0, **environment: str) -> Iterator[Site]:
    """Start the services, the worker with these options; stop them on leaving the context.

    Raises:
        AssertionError: The worker ended with another exit code than `exit_code`.
    """
    with ExitStack() as stack:
        server = RedisProcess(redis_program(), folder).start()
        stack.callback(server.stop)
        worker = start_gated(folder, server.url, *options, **environment)
        stack.callback(_stop, worker)
        stock = stack.enter_context(stock_app(server.url))
        inspector = stack.enter_context(stock_app(server.url_of("flower")))
        client = stack.enter_context(server.client())
        worker.wait_until_ready()
        yield Site(server, worker, stock, inspector, client)
        assert worker.stop() == exit_code


@contextmanager
def stock_app(url: str) -> Iterator[Celery]:
    """Yield a stock Celery app, and close its connections.

    The traceback of a failed test may keep its results alive longer than the app.
    """
    with (
        Celery("stock", broker=url, backend=url, set_as_current=False) as stock,
        closing_results(stock),
    ):
        yield stock


@contextmanager
def closing_results(app: Celery) -> Iterator[Celery]:
    """Yield a Celery app, and close the connections of its result backend.

    The app leaves them to the garbage collector, which warns of an open socket in a later test.
    """
    try:
        yield app
    finally:
        listener = app.backend.result_consumer
        listener.stop()
        # A result that is collected later would unsubscribe at Redis, which has ended by then.
        listener._pubsub = None
        app.backend.client.connection_pool.disconnect()


def start_gated(folder: Path, url: str, *options: str, **environment: str) -> WorkerProcess:
    """Start a sentq worker whose engine is gated."""
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


def finish_with_successor(site: Site, folder: Path, jobs: Iterable[Any]) -> None:
    """Start another gated worker, wait for the results of jobs, and stop the worker."""
    successor = start_gated(folder, site.server.url)
    try:
        for job in jobs:
            job.get(timeout=30)
    finally:
        assert successor.stop() == 0
    assert site.is_settled()


def start_followup(folder: Path, url: str) -> WorkerProcess:
    """Start a stock Celery worker with the tasks that follow a job."""
    command = ("celery", "-A", "tests.support.workers.other_app", "worker", "-P", "solo", *_QUIET)
    return WorkerProcess(folder, {"FOLLOWUP_URL": without_user(url)}, command)


def _stop(worker: WorkerProcess) -> None:
    with suppress(Exception):  # The test has failed already, with its own error.
        worker.stop()
