"""The delivery in one event loop, on a real Redis, to real receivers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from standardwebhooks import Webhook

from sentq import Settings
from sentq.webhooks import delivery
from sentq.webhooks.delivery import Deliverer
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer
from tests.support.processes import RedisProcess, eventually
from tests.support.webhooks.deliveries import SECRET, job_message
from tests.support.webhooks.receiver import ReceivedWebhook, ReceiverReply, WebhookReceiver

LIST = "sentq.webhooks"


def _settings(*receivers: WebhookReceiver, **settings: Any) -> WebhookSettings:
    return WebhookSettings.load(
        **{
            "secrets": [SECRET],
            "hosts": [each.origin for each in receivers],
            "private_networks": ["127.0.0.0/8"],
        }
        | settings
    )


@asynccontextmanager
async def _delivering(redis_server: RedisProcess, settings: WebhookSettings) -> AsyncIterator[None]:
    deliverer = Deliverer(Settings.load(broker_url=redis_server.url_of("webhooks")), settings)
    task = asyncio.create_task(deliverer.run())
    try:
        yield
    finally:
        deliverer.stop()
        await asyncio.wait_for(task, 30)


def _deliver(
    redis_server: RedisProcess, settings: WebhookSettings, until: Callable[[], object]
) -> None:
    """Deliver until a condition holds."""

    async def main() -> None:
        async with _delivering(redis_server, settings):
            await asyncio.to_thread(eventually, until)

    asyncio.run(main())


def _record(server: redis.Redis) -> dict[bytes, bytes]:
    """Return the only webhook that Redis has."""
    (key,) = list(server.scan_iter("sentq.webhook:*"))
    found: Any = server.hgetall(key)
    return dict(found)


def _is_settled(server: redis.Redis) -> bool:
    keys = [key.decode() for key in server.scan_iter("sentq.webhook*")]
    return not server.zcard("sentq.webhooks.due") and not server.llen(LIST) and not keys


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "retry_delay_s", lambda *_, asked_s=None: asked_s or 0.2)


def test_a_webhook_is_delivered_once_and_nothing_of_it_is_left(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with WebhookReceiver() as receiver:
        server.lpush(LIST, job_message(receiver.url("/hook?a=%20b"), "job-7"))
        _deliver(redis_server, _settings(receiver), lambda: receiver.requests)
        (request,) = receiver.requests
    assert request.path == "/hook?a=%20b"
    assert request.json["type"] == "job.failed"
    assert request.json["data"]["job_id"] == "job-7"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert _is_settled(server)


def test_the_signature_is_that_of_the_library_and_of_an_independent_computation(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    other = "whsec_" + base64.b64encode(b"another secret of tests!").decode()
    with WebhookReceiver() as receiver:
        settings = _settings(receiver, secrets=[other, SECRET])
        server.lpush(LIST, job_message(receiver.url(), owner="key-1"))
        _deliver(redis_server, settings, lambda: receiver.requests)
        (request,) = receiver.requests
    # Both secrets of this owner verify, and none of another owner does.
    for secret in load_signer(settings).secrets_of("key-1"):
        assert Webhook(secret).verify(request.body, dict(request.headers))
    signed = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = []
    for operator_secret in (b"another secret of tests!", b"secret of the tests 0001"):
        key = hmac.new(operator_secret, b"sentq webhook secret v1\0key-1", hashlib.sha256).digest()
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        expected.append("v1," + base64.b64encode(digest).decode())
    assert request.headers["webhook-signature"].split(" ") == expected
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(load_signer(settings).secrets_of("key-2")[0]).verify(
            request.body, dict(request.headers)
        )


@pytest.mark.usefixtures("fast_retries")
def test_a_failed_webhook_is_tried_again_with_the_same_id_and_body(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    statuses = iter([500, 404, 302, 204])
    with WebhookReceiver(answer=lambda _: ReceiverReply(next(statuses))) as receiver:
        server.lpush(LIST, job_message(receiver.url()))
        _deliver(redis_server, _settings(receiver), lambda: len(receiver.requests) == 4)
        requests = receiver.requests
    assert len({each.id for each in requests}) == 1
    assert len({each.body for each in requests}) == 1
    secret = load_signer(_settings(receiver)).secrets_of("")[0]
    for each in requests:
        assert Webhook(secret).verify(each.body, dict(each.headers))
    assert _is_settled(server)


def test_the_state_of_a_failed_webhook_is_kept(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with WebhookReceiver(answer=lambda _: ReceiverReply(503, {"retry-after": "600"})) as receiver:
        server.lpush(LIST, job_message(receiver.url(), "job-9"))
        _deliver(redis_server, _settings(receiver), lambda: receiver.requests)
    record = _record(server)
    assert (record[b"attempts"], record[b"last_status"]) == (b"1", b"503")
    assert record[b"subject_id"] == b"job-9"
    assert record[b"last_error"] == b"status 503"
    assert b"message" not in record
    waiting: Any = server.zrange("sentq.webhooks.due", 0, -1, withscores=True)
    ((_, due_ms),) = waiting
    assert 590 <= due_ms / 1000 - time.time() <= 610, "Retry-After is kept to"


def test_a_receiver_that_is_gone_disables_its_url_and_no_other(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    def answer(request: ReceivedWebhook) -> ReceiverReply:
        return ReceiverReply(410 if request.path == "/gone" else 204)

    with WebhookReceiver(answer=answer) as receiver:
        settings = _settings(receiver)
        server.lpush(LIST, job_message(receiver.url("/gone"), "job-1"))
        _deliver(redis_server, settings, lambda: server.zcard("sentq.webhooks.dead"))
        assert server.zrange("sentq.webhooks.disabled", 0, -1) == [receiver.url("/gone").encode()]
        server.lpush(LIST, job_message(receiver.url("/gone"), "job-2"))
        server.lpush(LIST, job_message(receiver.url("/other"), "job-3"))
        _deliver(redis_server, settings, lambda: server.zcard("sentq.webhooks.dead") == 2)
        assert [each.path for each in receiver.requests] == ["/gone", "/other"]


def test_a_webhook_is_dead_when_its_lifetime_is_over(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with WebhookReceiver(answer=lambda _: ReceiverReply(500, {"retry-after": "61"})) as receiver:
        settings = _settings(receiver, lifetime_s=60)
        server.lpush(LIST, job_message(receiver.url()))
        # Retry-After is read of 429 and 503 as of all others: 61 s are beyond the lifetime.
        _deliver(redis_server, settings, lambda: server.zcard("sentq.webhooks.dead"))
        assert len(receiver.requests) == 1
    assert not server.zcard("sentq.webhooks.due")
    (key,) = list(server.scan_iter("sentq.webhook:*"))
    assert 0 < server.ttl(key) <= 14 * 86400


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://other.example/hook", "not in webhooks.hosts"),
        ("no url", "must be a URL"),
        ("http://127.0.0.1:{port}@evil.example/", "user or a password"),
    ],
)
def test_a_url_that_is_not_allowed_is_never_called(
    redis_server: RedisProcess, server: redis.Redis, url: str, reason: str
) -> None:
    with WebhookReceiver() as receiver:
        server.lpush(LIST, job_message(url.format(port=receiver.port)))
        settings = _settings(receiver)
        _deliver(redis_server, settings, lambda: server.zcard("sentq.webhooks.dead"))
        assert not receiver.connections
    assert reason in _record(server)[b"last_error"].decode()


@pytest.mark.parametrize("message", [b"junk", b"{}", b'{"body": "W10="}', b"\xff\x00", b"[1]"])
def test_a_message_that_is_no_webhook_is_dead_at_once(
    redis_server: RedisProcess, server: redis.Redis, message: bytes
) -> None:
    with WebhookReceiver() as receiver:
        server.lpush(LIST, message, job_message(receiver.url()))
        _deliver(
            redis_server,
            _settings(receiver),
            lambda: server.zcard("sentq.webhooks.dead") and receiver.requests,
        )
    assert _record(server)[b"message"] == message


@pytest.mark.slow
def test_a_slow_host_does_not_delay_others_and_has_few_requests_at_a_time(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with (
        WebhookReceiver(answer=lambda _: ReceiverReply(delay_s=1.5)) as slow,
        WebhookReceiver(host="127.0.0.2") as other,
    ):
        for number in range(300):
            server.lpush(LIST, job_message(slow.url(), f"slow-{number}"))
        for number in range(20):
            server.lpush(LIST, job_message(other.url(), f"job-{number}"))
        settings = _settings(slow, other, in_flight=16, in_flight_per_host=4)
        _deliver(redis_server, settings, lambda: len(other.requests) == 20)
        assert len(slow.requests) < 100
        assert slow.most_at_once <= 4
    # None of the others is lost.
    assert server.zcard("sentq.webhooks.due") + len(slow.requests) == 300


def test_new_webhooks_stay_in_their_queue_while_too_many_wait(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with WebhookReceiver(answer=lambda _: ReceiverReply(503, {"retry-after": "60"})) as receiver:
        for number in range(10):
            server.lpush(LIST, job_message(receiver.url(), f"job-{number}"))
        settings = _settings(receiver, max_waiting=4)
        _deliver(redis_server, settings, lambda: len(receiver.requests) == 4)
        time.sleep(1)
        assert (server.zcard("sentq.webhooks.due"), server.llen(LIST)) == (4, 6)


@pytest.mark.slow
def test_an_outage_of_redis_is_logged_once_and_delivery_goes_on(
    own_redis: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(receiver: WebhookReceiver) -> None:
        async with _delivering(own_redis, _settings(receiver)):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own_redis.stop)
            await asyncio.sleep(3)
            await asyncio.to_thread(own_redis.start)
            with own_redis.client() as server:
                server.lpush(LIST, job_message(receiver.url()))
            await asyncio.to_thread(eventually, lambda: receiver.requests)

    with WebhookReceiver() as receiver:
        asyncio.run(main(receiver))
    said = [each.message for each in caplog.records if "taken" in each.message]
    assert [each.partition(":")[0] for each in said] == [
        "webhooks cannot be taken until Redis answers",
        "webhooks are taken again",
    ]


def test_webhooks_are_delivered_while_redis_is_full(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with WebhookReceiver() as receiver:
        server.lpush(LIST, job_message(receiver.url()))
        server.config_set("maxmemory", 1)
        try:
            _deliver(redis_server, _settings(receiver), lambda: receiver.requests)
            eventually(lambda: _is_settled(server))
        finally:
            server.config_set("maxmemory", 0)
