"""A worker whose device is lost: it leaves at once, and others answer everything that it held."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery
from tests.lost import LOSES_DEVICE
from tests.processes import RedisProcess, WorkerProcess
from tests.standin import hash_score

from sentq import Client
from sentq_worker.engine.base import EX_UNAVAILABLE


@pytest.mark.parametrize("options", [{}, {"expires": 600}], ids=["plain", "Celery's own path"])
def test_a_worker_whose_device_is_lost_leaves_and_another_answers_what_it_held(
    options: dict[str, int], redis_server: RedisProcess, client: Client, tmp_path: Path
) -> None:
    environment = {"SENTQ_BROKER_URL": redis_server.url}
    others = [client.submit(f"text {number}") for number in range(10)]
    stock = Celery("somebody", broker=redis_server.url, backend=redis_server.url)
    fatal = stock.send_task("sentq.score", args=[[LOSES_DEVICE]], queue="sentq", **options)
    doomed = WorkerProcess(tmp_path, environment, ("tests.lost",))
    assert doomed.process.wait(60) == EX_UNAVAILABLE, doomed.log
    assert "the device is lost: cuda:0 failed with AcceleratorError" in doomed.log
    assert "CANARY" not in doomed.log
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.hlen("unacked")) == (11, 0)
    sound = WorkerProcess(tmp_path, environment, ("tests.standin",)).wait_until_ready()
    try:
        (outcome,) = fatal.get(timeout=60)["outcomes"]
        assert outcome["score"] == hash_score(LOSES_DEVICE)
        assert all(len(job.result(timeout=10).outcomes) == 1 for job in others)
    finally:
        assert sound.stop() == 0
