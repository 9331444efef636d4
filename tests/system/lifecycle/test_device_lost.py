"""A worker that loses its device exits at once, and other workers score its jobs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from sentq import Client
from sentq.errors import JobFailed
from sentq_worker.exit_codes import EX_UNAVAILABLE
from tests.support.celery.site import stock_app
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.redis_state import lost_deliveries_of, set_lost_deliveries
from tests.support.workers.device_lost import LOSES_DEVICE
from tests.support.workers.standin import hash_score


@pytest.fixture
def stock(redis_server: RedisProcess) -> Iterator[Celery]:
    with stock_app(redis_server.url) as stock:
        yield stock


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"expires": 600}], ids=["plain", "Celery's own path"])
def test_a_worker_exits_when_its_device_is_lost_and_another_scores_its_jobs(
    options: dict[str, int],
    redis_server: RedisProcess,
    client: Client,
    stock: Celery,
    tmp_path: Path,
) -> None:
    environment = {"SENTQ_BROKER_URL": redis_server.url}
    others = [client.submit(f"text {number}") for number in range(10)]
    fatal = stock.send_task("sentq.score", args=[[LOSES_DEVICE]], queue="sentq", **options)
    failing = WorkerProcess(tmp_path, environment, ("tests.support.workers.device_lost",))
    assert failing.process.wait(60) == EX_UNAVAILABLE, failing.log
    assert "the device is lost: cuda:0 failed with AcceleratorError" in failing.log
    assert "CANARY" not in failing.log
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.hlen("unacked")) == (11, 0)
        messages = [json.loads(raw) for raw in redis.lrange("sentq", 0, -1)]
        ids = [message["headers"]["id"] for message in messages]
        lost = {(lost_deliveries_of(redis, job_id) or {}).get("count") for job_id in ids}
    assert lost == {1}, "all were in the batch that lost the device"
    successor = WorkerProcess(
        tmp_path, environment, ("tests.support.workers.standin",)
    ).wait_until_ready()
    try:
        (outcome,) = fatal.get(timeout=60)["outcomes"]
        assert outcome["score"] == hash_score(LOSES_DEVICE)
        assert all(len(job.result(timeout=10).outcomes) == 1 for job in others)
    finally:
        assert successor.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"expires": 600}], ids=["plain", "Celery's own path"])
def test_a_job_that_ran_alone_when_the_device_was_lost_becomes_a_dead_letter(
    options: dict[str, int],
    redis_server: RedisProcess,
    client: Client,
    stock: Celery,
    tmp_path: Path,
) -> None:
    others = [client.submit(f"text {number}") for number in range(3)]
    fatal_id, headers = str(uuid.uuid4()), {"redelivered": True}
    with redis_server.client() as redis:
        set_lost_deliveries(redis, fatal_id, 2)
    fatal = stock.send_task(
        "sentq.score",
        args=[[LOSES_DEVICE]],
        queue="sentq",
        task_id=fatal_id,
        headers=headers,
        **options,
    )
    failing = WorkerProcess(
        tmp_path, {"SENTQ_BROKER_URL": redis_server.url}, ("tests.support.workers.device_lost",)
    )
    assert failing.process.wait(60) == EX_UNAVAILABLE, failing.log
    assert all(len(job.result(timeout=10).outcomes) == 1 for job in others)
    assert f"job {fatal.id} runs alone" in failing.log
    with pytest.raises(JobFailed, match="worker"):
        client.job(fatal.id).result(timeout=10)
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.hlen("unacked"), redis.xlen("sentq.dead")) == (0, 0, 1)
