"""Tasks that follow a job and name no queue: where they go, and a warning if nothing reads that."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import Celery, chain, chord, signals

from sentq.contract import TASK_NAME
from sentq_worker.app import make_worker_app
from sentq_worker.celery_worker.canvas import unread
from sentq_worker.celery_worker.canvas.unread import UnreadQueues
from sentq_worker.settings import WorkerSettings
from tests.support.celery.site import run_site, start_followup
from tests.support.processes import RedisProcess, eventually
from tests.support.roles.users import unless_roles_are_tested

#: The queue of a stock application's tasks. Its worker reads no other one.
ROUTES: Final = '{"followup.*": "followup"}'

WAIT_S: Final = 30


@pytest.mark.slow
def test_a_canvas_that_names_no_queue_of_its_own_tasks_ends(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("site", "followup")]
    for folder in folders:
        folder.mkdir()
    with run_site(folders[0], SENTQ_WORKER_FOLLOW_ROUTES=ROUTES) as site:
        follower = start_followup(folders[1], site.server.url).wait_until_ready()
        try:
            # As in a stock shop: `chain(fetch.s(), score, store.s())`.
            before = site.followup("write", "one", "two")
            save, collect = (
                site.stock.signature(f"followup.{each}") for each in ("save", "collect")
            )
            score = site.signature(args=())
            chained = chain(before, score, save, app=site.stock).apply_async()
            assert chained.get(timeout=WAIT_S) == 2
            assert chord([site.signature("text")] * 3, collect, app=site.stock)().get(WAIT_S) == 3
            linked = site.stock.AsyncResult(str(uuid.uuid4()))
            site.score("text", link=save.clone().set(task_id=linked.id))
            assert linked.get(timeout=WAIT_S) == 1
        finally:
            follower.stop()


@pytest.mark.slow
@unless_roles_are_tested("the worker may publish to the default queue, and not look into it")
def test_a_worker_says_once_that_nothing_reads_the_default_queue(tmp_path: Path) -> None:
    with run_site(tmp_path) as site:
        save = site.stock.signature("followup.save")
        for _ in range(3):
            chain(site.signature("text"), save, app=site.stock).apply_async()
        said = "no message was taken from the queue celery"
        eventually(lambda: said in site.worker.log, within_s=90, what="a warning")
        assert site.worker.log.count(said) == 1
        assert site.redis.llen("celery") == 3


# --- Routes --------------------------------------------------------------------------------


@contextmanager
def _worker_app(routes: dict[str, str]) -> Iterator[Celery]:
    app = make_worker_app(worker_settings=WorkerSettings.load(follow_routes=routes))
    try:
        yield app
    finally:
        app.close()


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("shop.store", "stores"),
        ("shop.count", "shop"),
        ("other", "celery"),
        (TASK_NAME, "sentq"),
    ],
)
def test_a_task_goes_where_its_name_or_the_first_pattern_says(task: str, queue: str) -> None:
    routes = {"shop.*": "shop", "shop.c*": "counts", "shop.store": "stores"}
    with _worker_app(routes) as app:
        assert app.amqp.router.route({}, task)["queue"].name == queue
        assert set(app.amqp.queues.consume_from) == {"sentq", "sentq.bulk"}


def test_a_pattern_for_all_tasks_leaves_jobs_in_their_queue() -> None:
    with _worker_app({"*": "shop"}) as app:
        routed = [app.amqp.router.route({}, task)["queue"].name for task in (TASK_NAME, "any")]
    assert routed == ["sentq", "shop"]


# --- Unread queues -------------------------------------------------------------------------


@pytest.fixture
def connection(redis_server: RedisProcess) -> Iterator[redis.Redis]:
    with redis_server.client() as connection:
        yield connection


@pytest.fixture
def poll(connection: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Look at the queues: without pauses, and a message that is seen twice has waited for long."""
    monkeypatch.setattr(unread, "_POLL_INTERVAL_S", 0.0)
    monkeypatch.setattr(unread, "_UNREAD_AFTER_S", 0.0)
    with _worker_app({"shop.*": "shop"}) as app:
        queues = UnreadQueues(app)

        queues.listen()

        def look(*tasks: str, prefix: str = "", queue: str = "shop") -> None:
            for task in tasks:
                signals.before_task_publish.send(sender=task, exchange="", routing_key=queue)
            queues.poll(connection, prefix)

        yield look
        signals.before_task_publish.disconnect(dispatch_uid="sentq_worker.unread_queues")


def _warnings(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["shop", "acme:shop", "acme:shop\x06\x163"])
def test_a_message_that_stays_is_reported_once(
    connection: redis.Redis,
    poll: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    prefix = "acme:" if name.startswith("acme:") else ""
    connection.lpush(name, "CANARY first")
    poll("shop.store", prefix=prefix)
    assert _warnings(caplog) == []
    for number in range(3):
        connection.lpush(name, f"CANARY {number}")  # Newer ones change nothing.
        poll("shop.store", prefix=prefix)
    (warning,) = _warnings(caplog)
    assert "queue shop" in warning.getMessage()
    assert "follow_routes" in warning.getMessage()
    assert "CANARY" not in caplog.text


def test_a_queue_from_which_messages_are_taken_is_not_reported(
    connection: redis.Redis, poll: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    poll("shop.store")  # Nothing was published yet.
    for number in range(5):
        connection.lpush("shop", f"{number}")
        connection.lpush("shop", f"{number}, too")
        poll()
        connection.rpop("shop")
    assert _warnings(caplog) == []


def test_other_queues_are_not_looked_at(
    connection: redis.Redis, poll: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("celery", "named by a message", "sentq"):
        connection.lpush(name, "message")
    for _ in range(3):
        poll("shop.store")
        poll("shop.store", queue="named by a message")
        poll(TASK_NAME, queue="sentq")  # A retry, into a queue that the worker reads.
    assert _warnings(caplog) == []


def test_a_worker_that_may_not_read_a_queue_goes_on(
    connection: redis.Redis, poll: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    connection.set("shop", "of another type")
    for _ in range(3):
        poll("shop.store")
    assert _warnings(caplog) == []
