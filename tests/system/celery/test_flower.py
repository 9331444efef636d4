"""Flower, Celery's monitor: it shows tasks and workers, and no text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery

from sentq import Client
from tests.support.celery.flower import USER, Flower, start_flower
from tests.support.celery.site import stock_app
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually, worker_environment
from tests.support.roles.users import ARE_TESTED

pytestmark = pytest.mark.slow

CANARY = "CANARY5d1c"


@dataclass(frozen=True)
class FlowerSite:
    """The services that an operator runs, a sentq client and a stock Celery client."""

    flower: Flower
    worker: WorkerProcess
    client: Client
    stock: Celery
    inspector: Celery


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[FlowerSite]:
    redis = RedisProcess(redis_program(), tmp_path_factory.mktemp("redis")).start()
    environment = worker_environment(redis.url, tiny_model)
    celery = ("celery", "-A", "sentq_worker")
    worker = WorkerProcess(
        tmp_path_factory.mktemp("worker"),
        environment,
        (*celery, "worker", "-P", "solo", "-E", "-l", "DEBUG"),
    )
    flower = start_flower(tmp_path_factory.mktemp("flower"), environment)
    try:
        worker.wait_until_ready()
        with (
            Client(broker_url=redis.url) as client,
            stock_app(redis.url) as stock,
            stock_app(redis.url_of("flower")) as inspector,
        ):
            eventually(flower.sees_the_worker, within_s=60, what="a worker in Flower")
            yield FlowerSite(flower, worker, client, stock, inspector)
    finally:
        flower.process.stop()
        worker.stop()
        redis.stop()


def _score(stock: Celery, *args: Any, **options: Any) -> str:
    return str(stock.send_task("sentq.score", args=list(args), queue="sentq", **options).id)


def test_flower_shows_tasks_without_their_texts(site: FlowerSite) -> None:
    flower, client, stock = site.flower, site.client, site.stock
    (worker,) = eventually(
        lambda: flower.get_json("/api/workers?refresh=1"), what="a worker in Flower"
    )
    scheduled = _score(stock, [CANARY], countdown=3600)
    slow = client.submit([f"{CANARY} " * 9_000] * 5).id

    def worker_with_active_job() -> dict[str, Any]:
        """Return Flower's entry of the worker once it lists the slow job as active."""
        shown: dict[str, Any] = flower.get_json(
            f"/api/workers?refresh=1&workername={quote(worker)}"
        )
        ids = {job["id"] for job in shown[worker].get("active", [])}
        return shown[worker] if slow in ids else {}

    shown = eventually(worker_with_active_job, what="an active job in Flower")
    assert [entry["request"]["id"] for entry in shown["scheduled"]] == [scheduled]
    inspected = site.inspector.control.inspect(destination=[worker], timeout=10)
    asked = repr(
        [
            inspected.active(),
            inspected.reserved(),
            inspected.scheduled(),
            inspected.query_task(slow, scheduled),
        ]
    )
    assert scheduled in asked
    assert CANARY not in asked

    jobs = [
        slow,
        client.submit([CANARY, f"a good {CANARY}"]).id,
        client.submit(CANARY, bulk=True).id,
        _score(stock, [CANARY]),
        _score(stock, CANARY),
        _score(stock, [CANARY], countdown=0.1),
        str(stock.send_task("sentq.score", kwargs={"texts": [CANARY]}, queue="sentq").id),
    ]
    refused = _score(stock, [CANARY] * 257)

    def ended() -> bool:
        states = {name: task["state"] for name, task in flower.get_json("/api/tasks").items()}
        return [states.get(job) for job in [*jobs, refused]] == ["SUCCESS"] * 7 + ["FAILURE"]

    eventually(ended, within_s=60, what="the final state of every task in Flower")
    assert flower.get_json(f"/api/task/info/{jobs[1]}")["args"] == "<2 texts>"
    for path in (
        *("/", "/tasks", "/broker", "/metrics", f"/worker/{quote(worker)}"),
        *(f"/task/{job}" for job in jobs),
        *(f"/api/task/info/{job}" for job in [*jobs, refused]),
        *(f"/api/task/result/{job}" for job in [*jobs, refused]),
    ):
        # The user of Flower in users.acl may not read outcomes.
        is_refused = ARE_TESTED and "/result/" in path
        assert flower.get(path)[0] == (500 if is_refused else 200), path
    assert CANARY not in "".join(flower.replies)
    assert CANARY not in site.worker.log
    assert CANARY not in flower.process.log


@pytest.mark.parametrize("path", ["/api/workers", "/api/tasks", "/tasks", "/"])
@pytest.mark.parametrize(("user", "password"), [("", ""), (USER, "wrong")])
def test_flower_asks_for_a_password(site: FlowerSite, path: str, user: str, password: str) -> None:
    status, body = site.flower.get(path, user=user, password=password)
    assert status == 401
    assert "@" not in body
