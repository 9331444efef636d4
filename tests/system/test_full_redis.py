"""Workers of a Redis that is full: they start, take and complete jobs at its `maxmemory`."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

import pytest
import redis
from celery import chain, chord, group

from sentq import Client, Job, JobStatus, errors
from tests.support.celery.site import stock_app
from tests.support.missing import bundled_redis, on_path, redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.roles.users import unless_roles_are_tested
from tests.support.workers.redis_kinds import with_options
from tests.support.workers.standin import has_hash_scores

pytestmark = [pytest.mark.slow, pytest.mark.long]

logger = logging.getLogger(__name__)

#: Room for the outcomes of `MOST_JOBS` jobs (5.9 MB), and not for so many jobs.
MAX_BYTES: Final = 6_500_000
#: How many jobs a producer sends that fills Redis again and again.
MOST_JOBS: Final = 4_500
BULK_EVERY: Final = 10
WAIT_S: Final = 90
STANDIN: Final = ("tests.support.workers.standin",)

SERVERS: Final[dict[str, Callable[[], Path]]] = {
    "the server on PATH": lambda: on_path("redis-server"),
    "valkey": lambda: on_path("valkey-server"),
    "redis 6.2": bundled_redis,
}


@contextmanager
def _full_redis(folder: Path, program: Path, max_bytes: int) -> Iterator[RedisProcess]:
    folder.mkdir()
    limits = ("--maxmemory", str(max_bytes), "--maxmemory-policy", "noeviction")
    server = RedisProcess(program, folder, *limits, "--appendfsync", "always")
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def _worker(folder: Path, server: RedisProcess, **environment: str) -> Iterator[WorkerProcess]:
    variables = {"SENTQ_BROKER_URL": server.url, "SENTQ_VISIBILITY_TIMEOUT_S": "5"}
    worker = WorkerProcess(folder, variables | environment, STANDIN)
    try:
        yield worker
    finally:
        worker.stop()


class FillingProducer:
    """Sends jobs of several sizes whenever Redis accepts one, in a thread.

    Attributes:
        accepted: The jobs that Redis accepted, with their texts.
        refusals: How many times Redis refused one.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._thread = threading.Thread(target=self._run)
        self._has_ended = threading.Event()
        self.accepted: list[tuple[Job, list[str]]] = []
        self.refusals = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def has_outcome_of(self, number: int) -> bool:
        """Whether the job of this number, or the next one if that is bulk work, has ended."""
        job, _ = self.accepted[number + (number % BULK_EVERY == 0)]
        return job.status() is JobStatus.DONE

    def _run(self) -> None:
        while len(self.accepted) < MOST_JOBS and not self._has_ended.is_set():
            number = len(self.accepted)
            texts = [f"{number} {i} " + "words " * (number % 40) for i in range(1 + number % 3)]
            try:
                job = self._client.submit(texts, bulk=number % BULK_EVERY == 0)
            except errors.RedisFull:
                self.refusals += 1
                self._has_ended.wait(0.02)
            except errors.BrokerUnavailable:
                self._has_ended.wait(0.1)  # Redis restarts. Whether it accepted the job is unknown.
            else:
                self.accepted.append((job, texts))


@pytest.mark.parametrize("find", list(SERVERS.values()), ids=list(SERVERS))
def test_every_accepted_job_ends_though_redis_is_full_and_restarts(
    find: Callable[[], Path], tmp_path: Path
) -> None:
    with (
        _full_redis(tmp_path / "redis", find(), MAX_BYTES) as server,
        Client(broker_url=server.url) as client,
        FillingProducer(client) as producer,
        server.client() as observer,
    ):
        eventually(lambda: producer.refusals > 3, within_s=WAIT_S, what="a full Redis")
        full_with = len(producer.accepted)
        with _worker(tmp_path, server) as killed:
            killed.wait_until_ready()
            eventually(lambda: producer.has_outcome_of(full_with // 5), within_s=WAIT_S)
            os.kill(killed.process.pid, signal.SIGKILL)
            killed.process.wait()
        refusals = producer.refusals
        eventually(lambda: producer.refusals > refusals + 3, within_s=WAIT_S, what="a full Redis")
        server.stop()
        server.start()
        with _worker(tmp_path, server) as stopped:
            stopped.wait_until_ready()
            eventually(lambda: producer.has_outcome_of(full_with // 2), within_s=WAIT_S)
            assert stopped.stop() == 0
        with _worker(tmp_path, server) as last:
            last.wait_until_ready()
            server.kill()
            server.start()
            _wait_until_drained(producer, observer)
        outcomes = Counter(
            has_hash_scores(job.result(timeout=WAIT_S), *texts) for job, texts in producer.accepted
        )
        logger.info(
            "full with %d jobs; %d accepted, %d refusals, outcomes: %s",
            *(full_with, len(producer.accepted), producer.refusals, outcomes),
        )
        assert outcomes == {True: len(producer.accepted)}
        assert not observer.exists("sentq.dead", "unacked", "unacked_index")


def _wait_until_drained(producer: FillingProducer, observer: redis.Redis) -> None:
    def is_drained() -> bool:
        waiting = observer.llen("sentq") + observer.llen("sentq.bulk") + observer.hlen("unacked")
        return len(producer.accepted) >= MOST_JOBS and not waiting

    eventually(is_drained, within_s=WAIT_S, what="an empty queue")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that has no memory from the moment at which a test fills it."""
    with _full_redis(tmp_path / "redis", redis_program(), 0) as server:
        yield server


def _fill(observer: redis.Redis) -> None:
    """Let Redis refuse what needs memory. Outcomes may take a tenth more than it uses now."""
    observer.setrange("other", 20_000_000, "x")
    observer.config_set("maxmemory", cast("Any", observer.info("memory"))["used_memory"] * 9 // 10)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        observer.set("key", "value")


@unless_roles_are_tested("it uses a queue and a key prefix that users.acl does not name")
@pytest.mark.parametrize("prefix", ["", "acme:"], ids=["no prefix", "a key prefix"])
def test_jobs_that_celery_finishes_end_though_redis_is_full(
    server: RedisProcess, tmp_path: Path, prefix: str
) -> None:
    options = {"global_keyprefix": prefix} if prefix else {}
    with server.client() as observer, stock_app(server.url) as stock:
        with_options(stock, options)

        def score(text: str, **options: Any) -> Any:
            return stock.signature("sentq.score", args=([text],), queue="sentq", **options)

        def follow(queue: str = "sentq") -> Any:
            return stock.signature("sentq.score", args=(["next"],), queue=queue, immutable=True)

        later = score("later").apply_async(countdown=0.1)
        expired = score("expired").apply_async(expires=-1)
        linked = score("linked").apply_async(link=follow("elsewhere"))
        chained = chain(score("first"), follow()).apply_async()
        grouped = group(score("a"), score("b"), app=stock).apply_async()
        joined = chord([score("c"), score("d")], follow(), app=stock).apply_async()
        invalid = stock.send_task("sentq.score", args=[[]], queue="sentq", countdown=0.1)
        _fill(observer)
        with _worker(tmp_path, server, SENTQ_TRANSPORT_OPTIONS=json.dumps(options)) as worker:
            worker.wait_until_ready()
            assert has_hash_scores(later.get(timeout=WAIT_S), "later")
            assert has_hash_scores(linked.get(timeout=WAIT_S), "linked")
            eventually(lambda: observer.llen(f"{prefix}elsewhere") == 1, what="the linked message")
            assert has_hash_scores(chained.get(timeout=WAIT_S), "next")
            a, b = grouped.get(timeout=WAIT_S)
            assert has_hash_scores(a, "a")
            assert has_hash_scores(b, "b")
            assert has_hash_scores(joined.get(timeout=WAIT_S), "next")
            eventually(lambda: (expired.status, invalid.status) == ("REVOKED", "FAILURE"))
            eventually(
                lambda: not observer.exists(f"{prefix}unacked"), what="everything acknowledged"
            )
        assert not observer.exists(f"{prefix}sentq.dead", f"{prefix}unacked_index")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            observer.set("key", "value")


def test_outcomes_larger_than_their_jobs_wait_for_memory_beyond_the_margin(
    server: RedisProcess, tmp_path: Path
) -> None:
    with server.client() as observer, Client(broker_url=server.url) as client:
        large = client.submit(["ok"] * 200)
        small = client.submit("a longer text " * 50)
        _fill(observer)
        with _worker(tmp_path, server, SENTQ_WORKER_MAXMEMORY_MARGIN="0") as worker:
            eventually(lambda: "Redis is at its maxmemory" in worker.log)
            assert large.status() is not JobStatus.DONE
            observer.config_set("maxmemory", 0)
            assert len(large.result(timeout=WAIT_S).outcomes) == 200
            assert small.result(timeout=WAIT_S).outcomes
        assert worker.log.count("cannot be stored now") == 1


def test_an_idle_worker_asks_a_full_redis_no_more_often_than_others(
    server: RedisProcess, tmp_path: Path
) -> None:
    with server.client() as observer, Client(broker_url=server.url) as client:
        observer.config_set("maxmemory", 1)
        with _worker(tmp_path, server) as worker:
            worker.wait_until_ready()

            def scripts() -> int:
                return int(cast("Any", observer.info("commandstats"))["cmdstat_evalsha"]["calls"])

            eventually(lambda: scripts() > 20)
            before, seconds = scripts(), cast("Any", observer.time())
            eventually(lambda: cast("Any", observer.time())[0] >= seconds[0] + 3)
            assert scripts() - before < 200
            observer.config_set("maxmemory", 0)
            assert client.submit("text").result(timeout=WAIT_S).outcomes
