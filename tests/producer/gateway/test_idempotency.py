"""Requests with an idempotency key: repeated, at the same time, and with other content."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis
from fastapi.testclient import TestClient

from sentq import Settings
from sentq.gateway.app import make_gateway
from sentq.gateway.client import GatewayClient
from sentq.gateway.closing import Closing
from sentq.gateway.documents import JobBody
from sentq.gateway.idempotency import Attempt
from sentq.gateway.settings import GatewaySettings
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.responses import problem_in

BODY: Final = {"texts": ["a private text", "x"]}


@pytest.fixture
def http(settings: Settings) -> Iterator[TestClient]:
    """A gateway on a Redis without a worker."""
    app = make_gateway(settings, GatewaySettings.load(), Closing())
    with TestClient(app, base_url="http://localhost:8200") as http:
        yield http


def _send(http: TestClient, key: str | None, body: object = BODY, **headers: str) -> Any:
    if key is not None:
        headers["Idempotency-Key"] = key
    return http.post("/v1/jobs", json=body, headers=headers)


def test_a_repeated_request_is_the_same_job(http: TestClient, server: redis.Redis) -> None:
    responses = [_send(http, key) for key in ("order-1", "order-1", '"order-1"')]
    assert [each.status_code for each in responses] == [202] * 3
    assert len({each.headers["location"] for each in responses}) == 1
    assert server.llen("sentq") == 1
    assert _send(http, "order-2").headers["location"] != responses[0].headers["location"]
    assert _send(http, None).headers["location"] != responses[0].headers["location"]
    assert server.llen("sentq") == 3


def test_a_key_with_another_request_is_refused(http: TestClient, server: redis.Redis) -> None:
    assert _send(http, "order").status_code == 202
    for body in ({"texts": "y"}, BODY | {"bulk": True}, BODY | {"local_only": True}):
        assert problem_in(_send(http, "order", body)) == (422, "key-conflict")
    score = http.post("/v1/score", json=BODY, headers={"Idempotency-Key": "order"})
    assert problem_in(score) == (422, "key-conflict")
    assert server.llen("sentq") == 1


def test_keys_of_two_clients_are_apart(
    http: TestClient, settings: Settings, server: redis.Redis
) -> None:
    keys = [with_new_key(settings, name).key for name in "ab"]
    sent = [_send(http, "order", Authorization=f"Bearer {key}") for key in keys]
    assert len({each.headers["location"] for each in sent}) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, '"', '"a"b"', b"\xc3\xa9"])
def test_a_key_of_another_form_is_refused(http: TestClient, key: Any) -> None:
    assert problem_in(_send(http, key)) == (400, "malformed-request")


def test_a_request_in_progress_is_refused_and_may_be_repeated_when_it_has_ended(
    http: TestClient, settings: Settings
) -> None:
    async def while_in_progress() -> Any:
        async with GatewayClient(settings) as client:
            attempt = Attempt(client, "", "order", "job")
            content = JobBody(texts=["a private text", "x"]).model_dump_json().encode()
            await attempt.begin(content, lasts_s=30)
            response = await asyncio.to_thread(_send, http, "order")
            await attempt.end()
            return response

    refused = asyncio.run(while_in_progress())
    assert problem_in(refused) == (409, "request-in-progress")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert _send(http, "order").status_code == 202


def test_an_attempt_whose_gateway_died_counts_as_lost_after_a_time(
    http: TestClient, settings: Settings, server: redis.Redis
) -> None:
    first = _send(http, "order")
    (name,) = server.keys("sentq-gateway-request-*")
    server.hset(name, mapping={"attempt": "dead", "until_ms": 10**14})
    assert problem_in(_send(http, "order")) == (409, "request-in-progress")
    server.hset(name, "until_ms", 1)
    assert _send(http, "order").headers["location"] == first.headers["location"]


def test_redis_holds_no_text_of_a_request_and_no_plain_hash(
    http: TestClient, settings: Settings, server: redis.Redis
) -> None:
    _send(http, "first")
    _send(http, "second")
    names: Any = server.keys("sentq-gateway-request-*")
    records = [server.hgetall(name) for name in names]
    assert len({record[b"fingerprint"] for record in records}) == 2
    assert b"private" not in repr(records).encode()
    for name in names:
        assert 0 < server.ttl(name) <= 2 * settings.result_ttl_s
