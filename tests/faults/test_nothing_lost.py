"""Each accepted job gets one correct result, also if a cut or a kill interrupts any step.

The proxy recognizes each step of the protocol by its bytes, and cuts the connection or kills the
worker at that point.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from sentq import Client, Job, JobStatus, Prediction
from sentq.wire.ids import new_job_ids
from tests.support.celery.published_results import PublishedResults
from tests.support.fork_server import ForkServer
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.proxy import QUEUE_DUE, SCHEDULE, TAKE, Proxy, Trap
from tests.support.workers.standin import hash_score

pytestmark = pytest.mark.slow

VISIBILITY_TIMEOUT_S = "3"

#: The number of faults at each step; 100 in `make faults`.
TIMES = int(os.environ.get("FAULT_TIMES", "20"))

#: The number of workers whose connections are cut at the same time, each with its own proxy. One
#: worker alone is slow, because some steps are retried only after a second.
WORKERS = 4

#: The number of workers that are killed together. The jobs of all are finished before the next
#: kills, because a job that loses several workers becomes a dead letter.
KILLED_TOGETHER = 20

#: The steps at which a fault occurs: the bytes on the wire, and before or after they pass.
STEPS = {
    "wait": Trap(b"BLMOVE"),
    "take, before Redis has it": Trap(TAKE),
    "take, Redis has it": Trap(TAKE, forward_first=True),
    "take, before the reply": Trap(TAKE, on_reply=True),
    "finish, before it is stored": Trap(b'"SUCCESS"'),
    "finish, stored": Trap(b'"SUCCESS"', forward_first=True),
    "finish, before the reply": Trap(b'"SUCCESS"', on_reply=True),
}

#: The further steps if results are in another database than messages: jobs are then acknowledged
#: after their results are stored.
STEPS_APART = {
    "store, before Redis has it": Trap(b'"SUCCESS"'),
    "stored, before it is acknowledged": Trap(b'"SUCCESS"', forward_first=True),
    "acknowledge, before Redis has it": Trap(b"ZREM"),
    "acknowledge, Redis has it": Trap(b"ZREM", forward_first=True),
}

EVERY_STEP = [*STEPS, *STEPS_APART]

#: The further steps of jobs with an eta.
STEPS_OF_SCHEDULING = {
    "schedule, before Redis has it": Trap(SCHEDULE),
    "schedule, Redis has it": Trap(SCHEDULE, forward_first=True),
    "schedule, before the reply": Trap(SCHEDULE, on_reply=True),
    "queue due jobs, before Redis has it": Trap(QUEUE_DUE),
    "queue due jobs, Redis has it": Trap(QUEUE_DUE, forward_first=True),
    "queue due jobs, before the reply": Trap(QUEUE_DUE, on_reply=True),
}

#: How far away the eta of such a job is.
COUNTDOWN_S = 0.3


def _trap(step: str, action: Callable[[], None] = lambda: None, times: int = 1) -> Trap:
    plan = (STEPS | STEPS_APART | STEPS_OF_SCHEDULING)[step]
    return Trap(plan.pattern, action, plan.on_reply, plan.forward_first, times)


@pytest.fixture
def published(redis_server: RedisProcess) -> Iterator[PublishedResults]:
    with PublishedResults(redis_server.port) as published:
        yield published


T = TypeVar("T")

Start = Callable[..., WorkerProcess]

SENTQ = ("tests.support.workers.standin",)
STOCK = ("tests.support.workers.stock",)


@pytest.fixture
def start(tmp_path: Path, fork_server: ForkServer) -> Iterator[Start]:
    """Start workers of the given Redis, and kill them after the test, also if it fails."""
    started: list[WorkerProcess] = []

    def start(
        url: str, command: Sequence[str] = SENTQ, *, wait: bool = True, **environment: str
    ) -> WorkerProcess:
        variables = {"SENTQ_BROKER_URL": url, "SENTQ_VISIBILITY_TIMEOUT_S": VISIBILITY_TIMEOUT_S}
        worker = WorkerProcess(tmp_path, variables | environment, command, fork_server=fork_server)
        started.append(worker)
        return worker.wait_until_ready() if wait else worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


@pytest.fixture
def results(request: pytest.FixtureRequest, redis_server: RedisProcess) -> ResultDatabase:
    """The database of results at a step."""
    database = 1 if request.getfixturevalue("step") in STEPS_APART else 0
    return ResultDatabase(redis_server, database)


@dataclass
class ResultDatabase:
    """A Redis database for results, with its address for clients and workers."""

    redis: RedisProcess
    database: int

    def url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/{self.database}"

    def client(self) -> Client:
        return Client(broker_url=self.redis.url, result_url=self.url(self.redis.port))


def _texts(number: int) -> list[str]:
    return [f"text {number}.{i}" for i in range(1 + number % 5)]


def _check(jobs: dict[int, Job], published: PublishedResults, redis_server: RedisProcess) -> None:
    for number, job in jobs.items():
        outcome = job.result(timeout=60)
        scores = [row.score for row in outcome.outcomes if isinstance(row, Prediction)]
        assert scores == [hash_score(text) for text in _texts(number)]
    with redis_server.client() as redis:
        eventually(lambda: redis.hlen("unacked") == 0, what="everything acknowledged")
        assert redis.zcard("unacked_index") == 0
        assert redis.llen("sentq") == 0
    ids = {job.id for job in jobs.values()}
    eventually(lambda: ids <= published.at_s.keys(), what="all published results")
    assert not published.duplicates, "two results of a job"


def _all(items: Iterable[T], is_so: Callable[[T], object]) -> bool:
    return all(map(is_so, items))


def _submit(client: Client, texts: list[str]) -> Job:
    return client.submit(texts)


def _schedule(client: Client, texts: list[str]) -> Job:
    """Send a job for later, as sentq does or as Celery does, by the number of its texts."""
    if len(texts) % 2:
        return client.submit(texts, delay=COUNTDOWN_S)
    (job_id,) = new_job_ids(1)
    client._app.send_task(
        "sentq.score", args=[texts], task_id=job_id, queue="sentq", countdown=COUNTDOWN_S
    )
    return client.job(job_id)


def _submit_until(
    client: Client,
    jobs: dict[int, Job],
    broken: Callable[[], bool],
    send: Callable[[Client, list[str]], Job] = _submit,
) -> None:
    """Send jobs, some at a time, until all workers have hit their trap."""
    deadline = time.monotonic() + 60
    while not broken():
        assert time.monotonic() < deadline, "not every worker reached the step"
        for number in range(len(jobs), len(jobs) + 30):
            jobs[number] = send(client, _texts(number))
        with suppress(AssertionError):
            eventually(broken, within_s=0.3)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_connection_cut_at_any_step_loses_no_job(
    start: Start,
    redis_server: RedisProcess,
    results: ResultDatabase,
    published: PublishedResults,
    step: str,
) -> None:
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(redis_server.port)) for _ in range(WORKERS)]
        client = stack.enter_context(results.client())
        workers = [start(each.url, SENTQ_RESULT_URL=results.url(each.port)) for each in proxies]
        jobs: dict[int, Job] = {}
        for _ in range(max(1, TIMES // WORKERS)):
            traps = [_trap(step) for _ in proxies]
            for proxy, trap in zip(proxies, traps, strict=True):
                proxy.trap = trap
            _submit_until(client, jobs, partial(_all, traps, lambda trap: bool(trap.hits)))
        _check(jobs, published, redis_server)
        for worker in workers:
            assert worker.process.poll() is None
            assert worker.stop() == 0


def _rounds_of_kills() -> Iterator[int]:
    """Yield the number of workers of each round of kills."""
    for killed in range(0, TIMES, KILLED_TOGETHER):
        yield min(KILLED_TOGETHER, TIMES - killed)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_worker_killed_at_any_step_loses_no_job(
    start: Start,
    redis_server: RedisProcess,
    results: ResultDatabase,
    published: PublishedResults,
    step: str,
) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(results.client())
        jobs: dict[int, Job] = {}
        for count in _rounds_of_kills():
            proxies = [stack.enter_context(Proxy(redis_server.port)) for _ in range(count)]
            started = [
                start(each.url, wait=False, SENTQ_RESULT_URL=results.url(each.port))
                for each in proxies
            ]
            workers = [worker.wait_until_ready().process for worker in started]
            for proxy, process in zip(proxies, workers, strict=True):
                proxy.trap = _trap(step, process.kill)
            ended = partial(_all, workers, lambda worker: worker.poll() is not None)
            _submit_until(client, jobs, ended)
            assert {worker.wait() for worker in workers} == {-signal.SIGKILL}
            successor = start(redis_server.url, SENTQ_RESULT_URL=results.url(redis_server.port))
            _check(jobs, published, redis_server)
            assert successor.stop() == 0


def _was_hit(trap: Trap) -> bool:
    return trap.hits > 0


def _has_ended(worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None


def _check_scheduled(
    jobs: dict[int, Job], published: PublishedResults, redis_server: RedisProcess
) -> None:
    done = partial(_all, jobs.values(), lambda job: job.status() is JobStatus.DONE)
    eventually(done, within_s=60, what="all results")
    _check(jobs, published, redis_server)
    with redis_server.client() as redis:
        eventually(lambda: not redis.exists("sentq.scheduled", "sentq.scheduled.messages"))


@pytest.mark.parametrize("step", STEPS_OF_SCHEDULING)
def test_a_connection_cut_at_any_step_of_scheduling_loses_no_job(
    start: Start,
    redis_server: RedisProcess,
    client: Client,
    published: PublishedResults,
    step: str,
) -> None:
    with Proxy(redis_server.port) as proxy:
        worker = start(proxy.url)
        jobs: dict[int, Job] = {}
        for _ in range(max(1, TIMES // WORKERS)):
            proxy.trap = trap = _trap(step)
            _submit_until(client, jobs, partial(_was_hit, trap), _schedule)
        _check_scheduled(jobs, published, redis_server)
        assert worker.process.poll() is None
        assert worker.stop() == 0


@pytest.mark.parametrize("step", STEPS_OF_SCHEDULING)
def test_a_worker_killed_at_any_step_of_scheduling_loses_no_job(
    start: Start,
    redis_server: RedisProcess,
    client: Client,
    published: PublishedResults,
    step: str,
) -> None:
    jobs: dict[int, Job] = {}
    for _ in range(max(1, TIMES // WORKERS)):
        with Proxy(redis_server.port) as proxy:
            killed = start(proxy.url)
            proxy.trap = _trap(step, killed.process.kill)
            _submit_until(client, jobs, partial(_has_ended, killed), _schedule)
            assert killed.process.wait() == -signal.SIGKILL
            successor = start(redis_server.url)
            _check_scheduled(jobs, published, redis_server)
            assert successor.stop() == 0


def _is_scoring(jobs: Iterable[Job]) -> bool:
    return any(job.status() is JobStatus.RUNNING for job in jobs)


def test_a_connection_cut_during_scoring_loses_no_job(
    start: Start, redis_server: RedisProcess, client: Client, published: PublishedResults
) -> None:
    with Proxy(redis_server.port) as proxy:
        worker = start(proxy.url, STANDIN_DELAY_S="1")
        jobs: dict[int, Job] = {}
        for cut in range(TIMES):
            these = range(cut * 30, cut * 30 + 30)
            jobs |= {number: client.submit(_texts(number)) for number in these}
            eventually(partial(_is_scoring, [jobs[number] for number in these]))
            proxy.cut()
        try:
            _check(jobs, published, redis_server)
            assert worker.process.poll() is None
        finally:
            assert worker.stop() == 0


def test_a_worker_killed_during_scoring_loses_no_job(
    start: Start,
    redis_server: RedisProcess,
    client: Client,
    published: PublishedResults,
    tmp_path: Path,
) -> None:
    jobs: dict[int, Job] = {}
    for count in _rounds_of_kills():
        records = [tmp_path / f"{len(jobs)}-{number}.batches" for number in range(count)]
        workers = [
            start(redis_server.url, wait=False, STANDIN_DELAY_S="60", STANDIN_RECORD=str(record))
            for record in records
        ]
        scoring = partial(_all, records, lambda record: record.exists() and record.read_text())
        _submit_until(client, jobs, scoring)
        for worker in workers:
            worker.process.kill()
            assert worker.process.wait() == -signal.SIGKILL
        successor = start(redis_server.url)
        _check(jobs, published, redis_server)
        assert successor.stop() == 0


def _with_bad_bodies(client: Client, redis_server: RedisProcess) -> list[bytes]:
    """Return messages as a client sends them, each with an invalid body or header."""
    client.submit("CANARY")
    with redis_server.client() as redis:
        valid = json.loads(redis.rpop("sentq"))
        redis.flushall()
    bodies = [
        b"null",
        b'["x"]',
        b'{"a": "CANARY"}',
        b'[["CANARY"], null, {}]',
        b"\xff\xfe",
        b'["CA',
    ]
    encoded = [base64.b64encode(body).decode() for body in bodies]
    headers = [{"timelimit": "x"}, {"eta": "never"}, {"id": 5}, {"task": "CANARY.other"}, {}]
    return [
        *(json.dumps(valid | {"body": body}).encode() for body in [*encoded, "not base64"]),
        *(json.dumps(valid | {"headers": valid["headers"] | bad}).encode() for bad in headers[:-1]),
        json.dumps(valid | {"headers": headers[-1]}).encode(),
        json.dumps(valid | {"content-type": "application/x-python-serialize"}).encode(),
    ]


def test_an_unreadable_message_becomes_a_dead_letter_and_the_worker_continues(
    start: Start, redis_server: RedisProcess, client: Client, published: PublishedResults
) -> None:
    garbage = [
        *_with_bad_bodies(client, redis_server),
        b"",
        b"CANARY",
        b"\xff\xfe\x00",
        b"[]",
        b"[" * 100_000,
        b'{"body": "CANARY"}',
        b'{"body": 1, "headers": {}, "properties": {}}',
        b'{"body": "", "headers": {"task": 5}, "properties": {"delivery_info": {}}}',
    ]
    worker = start(redis_server.url)
    try:
        with redis_server.client() as redis:
            for each in garbage:
                redis.lpush("sentq", each)
            job = client.submit(_texts(1))
            _check({1: job}, published, redis_server)
            assert redis.xlen("sentq.dead") == len(garbage)
        assert "CANARY" not in worker.log
        assert worker.log.count("became a dead letter") == len(garbage)
    finally:
        assert worker.stop() == 0


@pytest.mark.parametrize("first_kind", ["sentq", "stock"])
def test_stock_workers_and_sentq_workers_restore_each_others_messages(
    start: Start,
    redis_server: RedisProcess,
    client: Client,
    published: PublishedResults,
    first_kind: str,
) -> None:
    first, second = (SENTQ, STOCK) if first_kind == "sentq" else (STOCK, SENTQ)
    worker = start(redis_server.url, first, STANDIN_DELAY_S="60")
    jobs = {number: client.submit(_texts(number)) for number in range(3)}
    with redis_server.client() as redis:
        # A stock worker that is killed after it took a message, and before it recorded that, loses
        # the message.
        eventually(lambda: 0 < redis.hlen("unacked") == len(jobs) - redis.llen("sentq"))
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        assert redis.hlen("unacked") > 0
    successor = start(redis_server.url, second)
    try:
        _check(jobs, published, redis_server)
    finally:
        successor.stop()


def test_a_stored_outcome_is_not_changed_by_a_second_delivery(
    start: Start, redis_server: RedisProcess, client: Client, published: PublishedResults
) -> None:
    job_id = new_job_ids(1)[0]
    app = client._app
    worker = start(redis_server.url)
    try:
        for _ in range(5):
            app.send_task("sentq.score", args=[_texts(2)], task_id=job_id, queue="sentq")
        job = client.job(job_id)
        eventually(lambda: job.status() is JobStatus.DONE)
        _check({2: job}, published, redis_server)
    finally:
        assert worker.stop() == 0
