"""Batches while their workers are killed: every count is exact, and the callback is published once.

`BATCH_JOBS=100000 BATCH_KILLS=20` makes the run of the issue.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from celery import Celery

from sentq import Batch, BatchProgress, CallbackState, Client, JobOutcome, errors
from sentq.wire.batches import batch_key
from tests.support.batch.workers import ReplaceableWorkers
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.proxy import Proxy, Trap
from tests.support.workers.standin import has_hash_scores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOBS = int(os.environ.get("BATCH_JOBS", "6000"))
KILLS = int(os.environ.get("BATCH_KILLS", "12"))
WORKERS = 2

WITHIN_S = 600


def _has_ended(worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None


def _has_done(batch: Batch, jobs: int) -> bool:
    return batch.progress().done >= jobs


@pytest.fixture
def callback() -> Any:
    return Celery("shop", set_as_current=False).signature("shop.done").set(queue="shop")


def _check(server: redis.Redis, batch: Batch, expected: BatchProgress, documents: int) -> None:
    """Check the counts against the documents of all jobs, and the callback."""
    eventually(lambda: batch.progress().callback is CallbackState.SENT, what="the callback")
    assert batch.progress() == expected
    callbacks = cast("list[bytes]", server.lrange("shop", 0, -1))
    assert [json.loads(each)["headers"]["task"] for each in callbacks] == ["shop.done"]
    assert not server.exists("sentq.batches")
    assert server.strlen(f"{batch_key(batch.id)}:ends") == 4 * expected.total
    ended = [job.id for job, _ in batch.as_completed(timeout=30)]
    assert sorted(ended) == sorted(job.id for job in batch.jobs())
    done = sum(isinstance(each, JobOutcome) for each in batch.results(timeout=30))
    assert done == documents


def test_counts_are_exact_and_the_callback_is_sent_once_when_workers_are_killed(
    redis_server: RedisProcess, server: redis.Redis, workers: ReplaceableWorkers, callback: Any
) -> None:
    for _ in range(WORKERS):
        workers.start(redis_server.url, STANDIN_DELAY_S="0.05")
    with Client(broker_url=redis_server.url) as client:
        batch = client.batch((f"text {number}" for number in range(JOBS)), then=callback)
        for kill in range(1, KILLS + 1):
            part = min(JOBS * kill // (KILLS + 1), JOBS - 1)
            eventually(partial(_has_done, batch, part), within_s=WITHIN_S, what="progress")
            workers.kill(0)
            workers.start(redis_server.url, STANDIN_DELAY_S="0.05")
        found = batch.wait(timeout=WITHIN_S)
        expected = found.model_copy(update={"callback": CallbackState.SENT})
        # A job that loses three workers is a dead letter: kills are spread, so none should be.
        assert (found.total, found.done, found.cancelled) == (JOBS, JOBS, 0)
        _check(server, batch, expected, JOBS)
        for number, outcome in enumerate(batch.results(timeout=30)):
            assert isinstance(outcome, JobOutcome)
            assert has_hash_scores(outcome.model_dump(), f"text {number}")


#: The steps at which a worker is killed: the bytes on the wire, before or after they pass.
STEPS = {
    "store, before Redis has it": Trap(b'"SUCCESS"'),
    "stored, Redis has it": Trap(b'"SUCCESS"', forward_first=True),
    "stored, before the reply": Trap(b'"SUCCESS"', on_reply=True),
    "publish, before Redis has it": Trap(b"shop.done"),
    "published, Redis has it": Trap(b"shop.done", forward_first=True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_batch_whose_last_worker_is_killed_at_any_step_is_complete_with_the_next_one(
    redis_server: RedisProcess,
    server: redis.Redis,
    workers: ReplaceableWorkers,
    callback: Any,
    step: str,
) -> None:
    trap = STEPS[step]
    with (
        Client(broker_url=redis_server.url) as client,
        Proxy(redis_server.port) as proxy,
    ):
        worker = workers.start(proxy.url)
        proxy.trap = replace(trap, action=worker.process.kill)
        batch = client.batch(["one", "two", "three"], then=callback)
        eventually(partial(_has_ended, worker), what="a killed worker")
        workers.start(redis_server.url)
        found = batch.wait(timeout=60)
        _check(server, batch, found.model_copy(update={"callback": CallbackState.SENT}), 3)
        time.sleep(0.5)
        assert server.llen("shop") == 1


def test_a_job_that_ends_its_workers_is_counted_as_failed(
    redis_server: RedisProcess,
    server: redis.Redis,
    workers: ReplaceableWorkers,
    callback: Any,
    tmp_path: Path,
) -> None:
    record = tmp_path / "record"
    with Client(broker_url=redis_server.url) as client:
        batch = client.batch(["poison"], then=callback)
        for _ in range(3):
            record.with_name("record.kill-before").touch()
            worker = workers.start(redis_server.url, is_awaited=False, STANDIN_RECORD=str(record))
            eventually(partial(_has_ended, worker), what="a kill")
        workers.start(redis_server.url)
        found = batch.wait(timeout=60)
        assert (found.total, found.failed) == (1, 1)
        ((_, outcome),) = batch.as_completed(timeout=30)
        assert isinstance(outcome, errors.JobFailed)
        assert outcome.code == "WorkerLost"
        _check(server, batch, found.model_copy(update={"callback": CallbackState.SENT}), 0)


def test_counts_survive_a_killed_redis(
    own_redis: RedisProcess, workers: ReplaceableWorkers, callback: Any
) -> None:
    workers.start(own_redis.url, STANDIN_DELAY_S="0.05")
    with Client(broker_url=own_redis.url) as client, own_redis.client() as server:
        server.config_set("appendfsync", "always")
        batch = client.batch((f"text {number}" for number in range(3000)), then=callback)
        for part in (300, 1500):
            eventually(partial(_has_done, batch, part), what="progress")
            own_redis.kill()
            own_redis.start()
        found = batch.wait(timeout=120)
        assert (found.total, found.done) == (3000, 3000)
        _check(server, batch, found.model_copy(update={"callback": CallbackState.SENT}), 3000)
