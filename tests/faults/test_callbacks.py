"""Callbacks of jobs while workers and Redis are killed: each is published once.

`CALLBACK_JOBS` and `CALLBACK_KILLS` make a longer run.
"""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from sentq import Client, JobOutcome, errors
from tests.support.batch.workers import ReplaceableWorkers
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.proxy import Proxy, Trap

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOBS = int(os.environ.get("CALLBACK_JOBS", "4000"))
KILLS = int(os.environ.get("CALLBACK_KILLS", "8"))

WITHIN_S = 600
QUEUE = "shop"

THEN: dict[str, Any] = {"task": "store", "args": [7], "kwargs": {}, "options": {"queue": QUEUE}}


def _published(server: redis.Redis) -> list[str]:
    """Return the first arguments of the callbacks in their queue, the first one first."""
    found = cast("list[bytes]", server.lrange(QUEUE, 0, -1))
    bodies = [json.loads(base64.b64decode(json.loads(each)["body"])) for each in reversed(found)]
    return [body[0][0] for body in bodies]


def _has_ended(worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None


def _has_published(server: redis.Redis, count: int) -> bool:
    return server.llen(QUEUE) >= count


def test_each_callback_is_published_once_when_workers_are_killed(
    redis_server: RedisProcess, server: redis.Redis, workers: ReplaceableWorkers
) -> None:
    for _ in range(2):
        workers.start(redis_server.url, STANDIN_DELAY_S="0.05")
    with Client(broker_url=redis_server.url) as client:
        jobs = client.submit_many((f"text {n}" for n in range(JOBS)), bulk=True, then=THEN)
        for kill in range(1, KILLS + 1):
            part = min(JOBS * kill // (KILLS + 1), JOBS - 1)
            eventually(partial(_has_published, server, part), within_s=WITHIN_S, what="progress")
            workers.kill(0)
            workers.start(redis_server.url, STANDIN_DELAY_S="0.05")
        ended = list(client.results(jobs, timeout=WITHIN_S))
        assert all(isinstance(outcome, JobOutcome) for outcome in ended)
        assert sorted(_published(server)) == sorted(job.id for job in jobs)


#: The step at which a worker is killed: the bytes on the wire, before or after they pass. Storing
#: and publishing are one step.
STEPS = {
    "before Redis has it": Trap(b'"SUCCESS"'),
    "Redis has it": Trap(b'"SUCCESS"', forward_first=True),
    "before the reply": Trap(b'"SUCCESS"', on_reply=True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_as_it_stores_publishes_once(
    redis_server: RedisProcess, server: redis.Redis, workers: ReplaceableWorkers, step: str
) -> None:
    with Client(broker_url=redis_server.url) as client, Proxy(redis_server.port) as proxy:
        worker = workers.start(proxy.url)
        proxy.trap = replace(STEPS[step], action=worker.process.kill)
        jobs = client.submit_many(["one", "two", "three"], then=THEN)
        eventually(partial(_has_ended, worker), what="a killed worker")
        for job_id in _published(server):
            assert client.job(job_id).result(timeout=0).outcomes, "stored with its callback"
        workers.start(redis_server.url)
        for job in jobs:
            assert job.result(timeout=60).outcomes
        eventually(lambda: not server.hlen("unacked"), what="everything acknowledged")
        time.sleep(0.5)
        assert sorted(_published(server)) == sorted(job.id for job in jobs)


def test_a_reply_that_is_lost_publishes_nothing_again(
    redis_server: RedisProcess, server: redis.Redis, workers: ReplaceableWorkers
) -> None:
    with Client(broker_url=redis_server.url) as client, Proxy(redis_server.port) as proxy:
        workers.start(proxy.url)
        proxy.trap = replace(STEPS["before the reply"], times=3)
        jobs = client.submit_many(["one", "two", "three"], then=THEN)
        eventually(lambda: not server.hlen("unacked"), what="everything acknowledged")
        for job in jobs:
            assert job.result(timeout=60).outcomes
        assert proxy.trap.hits
        assert sorted(_published(server)) == sorted(job.id for job in jobs)


def test_a_job_that_ends_its_workers_has_its_callback(
    redis_server: RedisProcess, server: redis.Redis, workers: ReplaceableWorkers, tmp_path: Path
) -> None:
    record = tmp_path / "record"
    with Client(broker_url=redis_server.url) as client:
        job = client.submit("poison", then=THEN)
        for _ in range(3):
            record.with_name("record.kill-before").touch()
            worker = workers.start(redis_server.url, is_awaited=False, STANDIN_RECORD=str(record))
            eventually(partial(_has_ended, worker), what="a kill")
        workers.start(redis_server.url)
        with pytest.raises(errors.JobFailed) as error:
            job.result(timeout=60)
        assert error.value.code == "WorkerLost"
        assert _published(server) == [job.id]


def test_callbacks_survive_a_killed_redis(
    own_redis: RedisProcess, workers: ReplaceableWorkers
) -> None:
    workers.start(own_redis.url, STANDIN_DELAY_S="0.05")
    with Client(broker_url=own_redis.url) as client, own_redis.client() as server:
        server.config_set("appendfsync", "always")
        jobs = client.submit_many((f"text {n}" for n in range(2000)), bulk=True, then=THEN)
        for part in (300, 1200):
            eventually(partial(_has_published, server, part), within_s=60, what="progress")
            own_redis.kill()
            own_redis.start()
        ended = list(client.results(jobs, timeout=120))
        assert all(isinstance(outcome, JobOutcome) for outcome in ended)
        assert sorted(_published(server)) == sorted(job.id for job in jobs)
