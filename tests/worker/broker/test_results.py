"""Stored results: standard Celery documents, of which the first one is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from celery.result import AsyncResult

from sentq import Settings
from sentq.connection.app import make_app
from sentq_worker.broker.results import ResultStore, failed, started, succeeded
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess


@pytest.fixture
def app(settings: Settings) -> Iterator[Any]:
    with closing_results(make_app(settings)) as app:
        yield app


@pytest.fixture
def store(app: Any) -> ResultStore:
    return ResultStore(app)


def test_stock_celery_reads_what_is_stored(app: Any, store: ResultStore) -> None:
    store.mark_started({"a": started("a", "host")})
    assert AsyncResult("a", app=app).state == "STARTED"
    store.store({"a": succeeded("a", {"outcomes": []}), "b": failed("b", ValueError("reason"))})
    assert AsyncResult("a", app=app).get(timeout=30) == {"outcomes": []}
    assert AsyncResult("b", app=app).state == "FAILURE"
    with pytest.raises(ValueError, match="reason"):
        AsyncResult("b", app=app).get(timeout=30)


@pytest.mark.parametrize("late", [started("a", "h"), succeeded("a", {"n": 2})])
def test_the_first_result_is_kept(app: Any, store: ResultStore, late: bytes) -> None:
    store.store({"a": succeeded("a", {"n": 1})})
    store.store({"a": late})
    assert AsyncResult("a", app=app).get(timeout=30) == {"n": 1}


def test_the_result_of_a_stock_worker_is_kept(app: Any, store: ResultStore) -> None:
    app.backend.store_result("a", {"n": 1}, "SUCCESS")
    store.store({"a": succeeded("a", {"n": 2})})
    assert AsyncResult("a", app=app).get(timeout=30) == {"n": 1}


def test_a_result_replaces_the_state_of_a_queued_or_running_job(
    app: Any, store: ResultStore
) -> None:
    for state in ("PENDING", "STARTED", "RETRY"):
        app.backend.store_result(state, None, state)
    store.store({state: succeeded(state, {}) for state in ("PENDING", "STARTED", "RETRY")})
    assert all(
        AsyncResult(state, app=app).state == "SUCCESS" for state in ("PENDING", "STARTED", "RETRY")
    )


def test_a_result_is_published_once_and_expires(
    app: Any, store: ResultStore, redis_server: RedisProcess
) -> None:
    with redis_server.client() as redis:
        listener = redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("celery-task-meta-a")
        document = succeeded("a", {})
        store.store({"a": document})
        store.store({"a": document})
        messages = [listener.get_message(timeout=1) for _ in range(3)]
        listener.close()
        assert [m["data"] for m in messages if m] == [document]
        assert 0 < redis.ttl("celery-task-meta-a") <= 24 * 60 * 60


def test_a_failure_holds_a_class_and_a_message_and_nothing_else() -> None:
    result = orjson.loads(failed("a", KeyError("why")))["result"]
    assert result == {"exc_type": "KeyError", "exc_message": ["'why'"], "exc_module": "builtins"}
