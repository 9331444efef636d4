"""Which jobs and batches with a URL are accepted."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from sentq.connection.broker import BrokerRedis
from sentq.errors import WebhookRefused, WebhooksFull
from sentq.webhooks import webhook
from sentq.webhooks.admission import WebhookAdmission
from sentq.webhooks.settings import WebhookSettings
from tests.support.webhooks.deliveries import SECRET

URL = "https://hooks.example.com/x"


def _then(server: redis.Redis, url: str = URL, **settings: Any) -> Any:
    values: dict[str, Any] = {"secrets": [SECRET], "hosts": "*.example.com", "max_waiting": 3}
    admission = WebhookAdmission(WebhookSettings.load(**values | settings))
    steps = admission.then_steps(url, outcomes=True, owner="key-1")
    return BrokerRedis(redis=server).run(steps)


def test_a_url_that_is_allowed_makes_a_callback(server: redis.Redis) -> None:
    assert _then(server) == webhook(URL, outcomes=True, owner="key-1")


def test_a_url_that_is_not_allowed_is_refused(server: redis.Redis) -> None:
    with pytest.raises(WebhookRefused, match=r"webhooks\.hosts"):
        _then(server, "https://example.com/")


def test_without_a_secret_all_are_refused(server: redis.Redis) -> None:
    with pytest.raises(WebhookRefused, match=r"webhooks\.secrets"):
        _then(server, secrets=())


def test_without_a_secret_they_are_accepted_that_another_process_delivers(
    server: redis.Redis,
) -> None:
    settings = WebhookSettings.load(hosts="*.example.com")
    admission = WebhookAdmission(settings, is_delivered_elsewhere=True)
    assert BrokerRedis(redis=server).run(admission.then_steps(URL)) == webhook(URL)
    with pytest.raises(WebhookRefused, match=r"webhooks\.hosts"):
        BrokerRedis(redis=server).run(admission.then_steps("https://example.com/"))


def test_a_receiver_that_has_answered_410_is_refused(server: redis.Redis) -> None:
    server.zadd("sentq.webhooks.disabled", {URL: time.time() * 1000})
    with pytest.raises(WebhookRefused, match="410 Gone"):
        _then(server)
    assert _then(server, "https://hooks.example.com/y")


def test_too_many_waiting_webhooks_are_an_overload(server: redis.Redis) -> None:
    server.zadd("sentq.webhooks.due", {"1": 1, "2": 2})
    assert _then(server)
    server.lpush("sentq.webhooks", "message")
    with pytest.raises(WebhooksFull, match="3 webhooks wait; the limit is 3") as error:
        _then(server)
    assert error.value.retry_after_s > 0
