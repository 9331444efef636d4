"""`then`: the callback of a job, as clients send it, and what they refuse."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import pytest
import redis
from celery import Celery, chain, signals

from sentq import AsyncClient, Client, errors
from sentq.contract import CALLBACK_HEADER
from tests.support.processes import RedisProcess

pytestmark = pytest.mark.redis


@pytest.fixture
def store() -> Any:
    return Celery("shop", set_as_current=False).signature("store", args=(1,)).set(queue="shop")


def _headers(server: redis.Redis) -> list[dict[str, Any]]:
    """Return the headers of the queued messages, the oldest first."""
    found: Any = server.lrange("sentq", 0, -1)
    return [json.loads(raw)["headers"] for raw in reversed(found)]


def _is_callback(header: str, argument: str = "id") -> bool:
    expected = {
        "task": "store",
        "args": [1],
        "kwargs": {},
        "options": {"queue": "shop"},
        "immutable": False,
        "argument": argument,
    }
    return bool(json.loads(header) == expected)


def test_a_job_carries_its_callback(client: Client, server: redis.Redis, store: Any) -> None:
    client.submit("text", then=store)
    client.submit_many(["one", "two"], then=store, then_argument="outcome")
    client.submit("text")
    first, *both, plain = _headers(server)
    assert _is_callback(first[CALLBACK_HEADER])
    assert all(_is_callback(each[CALLBACK_HEADER], "outcome") for each in both)
    assert CALLBACK_HEADER not in plain


def test_the_client_for_asyncio_sends_the_same(
    redis_server: RedisProcess, server: redis.Redis, store: Any
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=redis_server.url) as client:
            await client.submit("text", then=store)
            await client.submit_many(["one"], then=store, then_argument="outcome")

    asyncio.run(main())
    first, second = _headers(server)
    assert _is_callback(first[CALLBACK_HEADER])
    assert _is_callback(second[CALLBACK_HEADER], "outcome")
    for name in ("submit", "submit_many"):
        parameters = inspect.signature(getattr(AsyncClient, name)).parameters
        assert list(parameters) == list(inspect.signature(getattr(Client, name)).parameters)


def test_a_job_that_celery_publishes_carries_its_callback_too(
    client: Client, server: redis.Redis, store: Any
) -> None:
    def listen(**_: object) -> None: ...

    signals.before_task_publish.connect(listen)
    try:
        client.submit("text", then=store)
    finally:
        signals.before_task_publish.disconnect(listen)
    ((headers),) = _headers(server)
    assert _is_callback(headers[CALLBACK_HEADER])


@pytest.mark.parametrize("placeholder", ["@sentq:id@", "@sentq:body@", "@sentq:place@", "a@b.c"])
def test_arguments_that_look_like_a_placeholder_of_messages_stay_as_they_are(
    client: Client, server: redis.Redis, store: Any, placeholder: str
) -> None:
    client.submit("text", then=store.clone(args=(placeholder,)))
    ((headers),) = _headers(server)
    assert json.loads(headers[CALLBACK_HEADER])["args"] == [placeholder, 1]


def test_the_same_key_keeps_the_callback_that_was_sent_first(
    client: Client, server: redis.Redis, store: Any
) -> None:
    first = client.submit("text", key="order 17", then=store)
    again = client.submit("text", key="order 17", then=store.clone(args=(2,)))
    assert again.id == first.id
    ((headers),) = _headers(server)
    assert _is_callback(headers[CALLBACK_HEADER])


def _signature(**parts: Any) -> dict[str, Any]:
    return {"task": "store", "args": [], "kwargs": {}, "options": {"queue": "shop"}} | parts


@pytest.mark.parametrize(
    ("then", "argument", "reason"),
    [
        ("store", "id", "signature"),
        ({}, "id", "signature"),
        (_signature(task=5), "id", "signature"),
        (_signature(args=[object()]), "id", "JSON"),
        (_signature(args=["x" * 70_000]), "id", "65,536"),
        (_signature(), "text", "then_argument"),
        (_signature(options={"task_id": "mine"}), "id", "one job"),
    ],
)
def test_what_is_no_signature_of_a_task_is_refused(
    client: Client, server: redis.Redis, then: Any, argument: Any, reason: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=reason):
        client.submit_many(["one", "two"], then=then, then_argument=argument)
    assert not server.keys("*")


def test_a_chain_is_refused(client: Client, store: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="chain"):
        client.submit("text", then=chain(store, store))


def test_one_job_may_have_a_callback_with_an_id(
    client: Client, server: redis.Redis, store: Any
) -> None:
    client.submit("text", then=store.set(task_id="mine"))
    ((headers),) = _headers(server)
    assert json.loads(headers[CALLBACK_HEADER])["options"]["task_id"] == "mine"


def test_a_callback_needs_messages_and_results_in_one_redis(
    redis_server: RedisProcess, server: redis.Redis, store: Any
) -> None:
    results = redis_server.url.replace("/0", "/1")
    with (
        Client(broker_url=redis_server.url, result_url=results) as client,
        pytest.raises(errors.SettingsError, match="one database"),
    ):
        client.submit("text", then=store)
    assert not server.keys("*")
