"""A real worker on a real Redis, used by sentq's client and by a stock Celery client."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.exceptions import TaskRevokedError

from sentq import Client, JobOutcome, JobStatus, Prediction, errors
from sentq.wire.ids import new_job_ids
from tests.support.celery.events import Events
from tests.support.celery.site import stock_app
from tests.support.missing import redis_program
from tests.support.models.tiny import long_texts
from tests.support.processes import (
    RedisProcess,
    StartWorker,
    WorkerProcess,
    eventually,
    worker_environment,
)

CANARY = "CANARY7f3a"


@dataclass(frozen=True)
class RunningWorker:
    """A Redis, a worker and its clients, shared by this module's tests."""

    redis: RedisProcess
    worker: WorkerProcess
    client: Client
    #: A Celery app without sentq, as another program has it.
    stock: Celery
    #: The same with the user of Flower.
    inspector: Celery


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[RunningWorker]:
    redis = RedisProcess(redis_program(), tmp_path_factory.mktemp("redis")).start()
    worker = WorkerProcess(
        tmp_path_factory.mktemp("worker"),
        worker_environment(redis.url, tiny_model),
        ("sentq_worker", "-E"),
    )
    try:
        worker.wait_until_ready()
        with (
            Client(broker_url=redis.url) as client,
            stock_app(redis.url) as stock,
            stock_app(redis.url_of("flower")) as inspector,
        ):
            yield RunningWorker(redis, worker, client, stock, inspector)
    finally:
        code = worker.stop()
        redis.stop()
    assert code == 0


def _score(stock: Celery, *args: Any, **options: Any) -> Any:
    return stock.send_task("sentq.score", args=list(args), queue="sentq", **options)


@pytest.mark.parametrize(
    "command",
    [
        ("sentq_worker",),
        pytest.param(
            ("celery", "-A", "sentq_worker", "worker", "-P", "solo"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("celery", "-A", "sentq_worker", "worker", "--loglevel", "INFO"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_starts_by_its_own_command_and_by_celerys(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker, command: tuple[str, ...]
) -> None:
    worker = start_worker(redis_server.url, command=command, wait=False)
    outcome = client.submit(["a good day", "", "bad"]).result(timeout=90)
    assert [isinstance(row, Prediction) for row in outcome.outcomes] == [True, False, True]
    assert outcome.backend == "local:cpu"
    assert outcome.revision
    assert outcome.revision.startswith("sha256:")
    assert (outcome.dtype, outcome.attempts) == ("float32", 1)
    assert outcome.queued_ms is not None
    assert outcome.inference_ms > 0
    assert worker.stop() == 0
    if "--loglevel" in command or command == ("sentq_worker",):
        assert "on local:cpu (chosen by auto) as float32" in worker.log


def test_prefork_is_refused_because_each_process_would_load_a_model(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    with pytest.raises(AssertionError, match="-P solo"):
        start_worker(
            redis_server.url,
            command=("celery", "-A", "sentq_worker", "worker", "-P", "threads"),
        )


@pytest.mark.slow
def test_a_missing_model_stops_the_start_with_advice(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    with pytest.raises(AssertionError, match="neither a folder nor a Hub id"):
        start_worker(redis_server.url, SENTQ_WORKER_MODEL="./nowhere")


def test_a_stock_celery_client_is_served(service: RunningWorker) -> None:
    """One worker scores jobs of all forms: plain, by keyword, delayed, in a canvas, and invalid."""
    stock, client = service.stock, service.client
    plain = _score(stock, ["a good day", "bad"])
    outcome = JobOutcome.model_validate(plain.get(timeout=30))
    assert len(outcome.outcomes) == 2

    by_keyword = stock.send_task("sentq.score", kwargs={"texts": ["good"]}, queue="sentq")
    assert len(by_keyword.get(timeout=30)["outcomes"]) == 1
    assert len(_score(stock, "one text").get(timeout=30)["outcomes"]) == 1

    later = _score(stock, ["good"], countdown=0.5)
    assert later.get(timeout=30)["attempts"] == 1
    in_time = _score(stock, ["good"], expires=60)
    assert len(in_time.get(timeout=30)["outcomes"]) == 1

    expired = _score(stock, ["good"], expires=-1)
    with pytest.raises(TaskRevokedError, match="expired"):
        expired.get(timeout=30)
    with pytest.raises(errors.JobExpired):
        client.job(expired.id).result(timeout=30)

    signature = stock.signature("sentq.score", args=(["good"],), queue="sentq")
    together = group(signature, signature, app=stock).apply_async()
    assert [len(row["outcomes"]) for row in together.get(timeout=30)] == [1, 1]
    # The second job of the chain gets the first one's outcome instead of a list of texts.
    chained = chain(signature, signature, app=stock).apply_async()
    with pytest.raises(errors.InvalidInput):
        chained.get(timeout=30)
    assert chained.parent.get(timeout=30)["outcomes"]

    for wrong in ([], ["x"] * 257, {"text": "x"}):
        refused = _score(stock, wrong)
        with pytest.raises(errors.InvalidInput):
            refused.get(timeout=30)
    mixed = _score(stock, ["good", 5, None, "\ud800"]).get(timeout=30)["outcomes"]
    assert [row.get("code") for row in mixed] == [
        None,
        "not_a_string",
        "not_a_string",
        "lone_surrogate",
    ]
    assert client.submit("still alive?").result(timeout=30).outcomes
    with service.redis.client() as redis:
        eventually(lambda: redis.hlen("unacked") == 0)


def test_a_message_over_the_limit_is_refused_before_it_is_read(service: RunningWorker) -> None:
    with pytest.raises(errors.MessageTooLarge):
        _score(service.stock, ["é" * 50_000] * 4).get(timeout=30)


def test_no_text_appears_in_logs_events_or_inspect_replies(service: RunningWorker) -> None:
    stock = service.stock
    with Events(service.inspector) as events:
        jobs = [
            _score(stock, [CANARY, CANARY * 2]),
            _score(stock, [CANARY], countdown=1),
            _score(stock, [CANARY] * 257),
            _score(stock, CANARY, unknown=CANARY),
            stock.send_task("sentq.score", kwargs={"texts": [CANARY]}, queue="sentq"),
            stock.send_task("sentq.score", kwargs={CANARY: [CANARY]}, queue="sentq"),
        ]
        service.client.submit([CANARY]).result(timeout=30)
        inspected = service.inspector.control.inspect(timeout=1)
        questions = (inspected.scheduled, inspected.active, inspected.reserved)
        shown = [eventually(question, what="a reply of the worker") for question in questions]
        for job in jobs:
            job.get(timeout=30, propagate=False)
        eventually(lambda: {"task-started", "task-succeeded", "task-failed"} <= events.types)
    assert "task-received" in events.types
    assert CANARY not in repr(events.all)
    assert CANARY not in repr(shown)
    assert CANARY not in service.worker.log
    with service.redis.client() as redis:
        results = redis.mget([f"celery-task-meta-{job.id}" for job in jobs])
    assert CANARY.encode() not in b"".join(filter(None, results))


@pytest.mark.slow
def test_a_job_is_running_while_it_is_scored(service: RunningWorker) -> None:
    client = service.client
    job = client.submit(long_texts())
    eventually(lambda: job.status() is JobStatus.RUNNING)
    # The engine computes in its own thread, so that the worker replies meanwhile.
    assert service.inspector.control.ping(timeout=2)
    assert len(job.result(timeout=120).outcomes) == 10
    assert job.status() is JobStatus.DONE


def test_a_revoked_job_is_not_scored(service: RunningWorker) -> None:
    client = service.client
    blocker = client.submit(long_texts())
    eventually(lambda: blocker.status() is JobStatus.RUNNING)
    job = client.submit("revoke me")
    service.inspector.control.revoke(job.id)
    with pytest.raises(errors.JobCancelled):
        job.result(timeout=120)


@pytest.mark.slow
def test_sigterm_under_load_loses_no_job_and_exits_with_0(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker
) -> None:
    text = "so good a day that we stayed " * 8
    jobs = [client.submit([f"{text}{i}"] * (1 + i % 40), bulk=i % 2 == 0) for i in range(1000)]
    worker = start_worker(redis_server.url)
    eventually(lambda: jobs[51].status() is not JobStatus.QUEUED)
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 15
    with redis_server.client() as redis:
        left = redis.llen("sentq") + redis.llen("sentq.bulk")
        assert redis.hlen("unacked") == 0
    statuses = [job.status() for job in jobs]
    assert statuses.count(JobStatus.QUEUED) == left > 0
    assert statuses.count(JobStatus.DONE) == len(jobs) - left > 0
    start_worker(redis_server.url)
    for i, job in enumerate(jobs):
        assert len(job.result(timeout=120).outcomes) == 1 + i % 40


@pytest.mark.slow
def test_jobs_that_cannot_finish_in_time_are_requeued(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_server.url, SENTQ_WORKER_SHUTDOWN_GRACE_S="0.5")
    jobs = [client.submit(long_texts()) for _ in range(4)]
    eventually(lambda: jobs[0].status() is JobStatus.RUNNING)
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 5
    with redis_server.client() as redis:
        assert redis.hlen("unacked") == 0
        assert redis.llen("sentq") == 4 - [job.status() for job in jobs].count(JobStatus.DONE)
    start_worker(redis_server.url)
    assert all(len(job.result(timeout=120).outcomes) == 10 for job in jobs)


@pytest.mark.slow
def test_outcomes_are_kept_until_redis_has_memory_for_them(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    with Client(broker_url=own_redis.url) as client, own_redis.client() as redis:
        standin = ("tests.support.workers.standin",)
        worker = start_worker(own_redis.url, command=standin, STANDIN_DELAY_S="1")
        # Its outcome is larger than its message, which would make room for a smaller one.
        job = client.submit(["ok"] * 100)
        eventually(lambda: job.status() is JobStatus.RUNNING)
        redis.config_set("maxmemory", 1)
        eventually(lambda: "cannot be stored" in worker.log)
        redis.config_set("maxmemory", 0)
        assert len(job.result(timeout=60).outcomes) == 100
        assert client.submit("and on it goes").result(timeout=60).outcomes


@pytest.mark.slow
def test_outcomes_are_kept_until_redis_answers_again(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    assert own_redis.process is not None
    with Client(broker_url=own_redis.url) as client:
        start_worker(own_redis.url)
        job = client.submit(long_texts())
        eventually(lambda: job.status() is JobStatus.RUNNING)
        own_redis.process.send_signal(signal.SIGSTOP)
        time.sleep(6)  # Longer than the job and than each time-out.
        own_redis.process.send_signal(signal.SIGCONT)
        assert len(job.result(timeout=60).outcomes) == 10
        assert client.submit("and on it goes").result(timeout=60).outcomes


@pytest.mark.slow
def test_jobs_of_a_worker_killed_under_load_are_finished_by_another(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    timeout_s = "5"
    with Client(broker_url=own_redis.url) as client:
        worker = start_worker(own_redis.url, SENTQ_VISIBILITY_TIMEOUT_S=timeout_s)
        jobs = [client.submit([f"bad day {i}"] * 20) for i in range(300)]
        eventually(lambda: jobs[20].status() is JobStatus.DONE)
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        start_worker(own_redis.url, SENTQ_VISIBILITY_TIMEOUT_S=timeout_s)
        # In one transaction: between two calls the reaper may move jobs back to the queue.
        with own_redis.client() as redis, redis.pipeline() as pipe:
            eventually(
                lambda: not any(pipe.llen("sentq").hlen("unacked").execute()),
                within_s=60,
                what="the killed worker's jobs finished by the other worker",
            )
        assert {job.status() for job in jobs} == {JobStatus.DONE}


def test_worker_and_client_survive_a_restart_of_redis(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    with Client(broker_url=own_redis.url) as client:
        worker = start_worker(own_redis.url)
        assert client.submit("good").result(timeout=30).outcomes
        own_redis.stop()
        started = time.monotonic()
        with pytest.raises(errors.BrokerUnavailable):
            client.submit("good")
        assert time.monotonic() - started < 5
        own_redis.start()
        assert client.submit("good again").result(timeout=60).outcomes
        assert worker.process.poll() is None
        assert worker.stop() == 0


def test_a_job_with_the_id_of_a_stock_client_is_scored(service: RunningWorker) -> None:
    stock = service.stock
    job = _score(stock, ["good"], task_id="my-own-id")
    assert job.get(timeout=30)["queued_ms"] is None
    job = _score(stock, ["good"], task_id=new_job_ids(1)[0])
    assert job.get(timeout=30)["queued_ms"] >= 0
