"""Webhooks while deliverers and Redis are killed: none is lost, and each request is signed.

`WEBHOOKS` and `WEBHOOK_KILLS` make a longer run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import redis
from standardwebhooks import Webhook

from sentq import Client
from sentq.webhooks import webhook
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer
from tests.support.batch.workers import ReplaceableWorkers
from tests.support.processes import RedisProcess, eventually
from tests.support.proxy import Proxy, Trap
from tests.support.webhooks.deliveries import (
    SECRET,
    DelivererProcess,
    job_message,
    webhook_environment,
)
from tests.support.webhooks.receiver import ReceivedWebhook, ReceiverReply, WebhookReceiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WEBHOOKS: Final = int(os.environ.get("WEBHOOKS", "400"))
KILLS: Final = int(os.environ.get("WEBHOOK_KILLS", "6"))

#: A lease holds for the time limit of a request and 15 s more.
WITHIN_S: Final = 120

LIST: Final = "sentq.webhooks"


class Deliverers:
    """Processes that deliver, and are killed and replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.running: list[DelivererProcess] = []

    def start(self, url: str, receiver: WebhookReceiver) -> DelivererProcess:
        """Start one, and wait until it delivers."""
        environment = webhook_environment(receiver.origin, timeout_s=2)
        process = DelivererProcess(self._folder, url, environment)
        self._stack.callback(process.kill)
        self.running.append(process)
        return process.wait_until_ready()

    def close(self) -> None:
        """Kill those that are left."""
        self._stack.close()


@pytest.fixture
def deliverers(tmp_path: Path) -> Iterator[Deliverers]:
    """Deliverers of a test."""
    found = Deliverers(tmp_path)
    yield found
    found.close()


def _check_signatures(requests: list[ReceivedWebhook]) -> None:
    """Check that each request is signed, and was not when it came an old one."""
    (secret,) = load_signer(WebhookSettings.load(secrets=[SECRET])).secrets_of("")
    for request in requests:
        Webhook(secret).verify(request.body, dict(request.headers))


def _jobs(requests: list[ReceivedWebhook]) -> Counter[str]:
    return Counter(request.json["data"]["job_id"] for request in requests)


def _is_settled(server: redis.Redis) -> bool:
    return not server.llen(LIST) and not server.zcard("sentq.webhooks.due")


@pytest.mark.long
def test_no_webhook_is_lost_when_deliverers_are_killed(
    redis_server: RedisProcess,
    server: redis.Redis,
    workers: ReplaceableWorkers,
    deliverers: Deliverers,
) -> None:
    accepted: Counter[str] = Counter()
    seed = random.Random(18)

    def answer(request: ReceivedWebhook) -> ReceiverReply:
        reply = ReceiverReply(500 if seed.random() < 0.05 else 204, delay_s=seed.random() / 10)
        if reply.status == 204:
            accepted[request.id] += 1
        return reply

    with WebhookReceiver(answer=answer) as receiver, Client(broker_url=redis_server.url) as client:
        url = redis_server.url_of("webhooks")
        workers.start(redis_server.url)
        for _ in range(2):
            deliverers.start(url, receiver)
        then = webhook(receiver.url())
        jobs = client.submit_many((f"text {n}" for n in range(WEBHOOKS)), bulk=True, then=then)
        for kill in range(1, KILLS + 1):
            part = WEBHOOKS * kill // (KILLS + 1)
            eventually(lambda part=part: len(accepted) >= part, within_s=WITHIN_S, what="progress")  # type: ignore[misc]
            deliverers.running.pop(0).kill()
            deliverers.start(url, receiver)
        eventually(lambda: len(accepted) == WEBHOOKS, within_s=WITHIN_S, what="all webhooks")
        eventually(partial(_is_settled, server), within_s=WITHIN_S, what="all settled")
        requests = list(receiver.requests)
    assert set(_jobs(requests)) == {job.id for job in jobs}
    assert len({request.id for request in requests}) == WEBHOOKS, "the same id each time"
    assert not server.exists("sentq.webhooks.dead")
    _check_signatures(requests)
    again = sum(accepted.values()) - WEBHOOKS
    print(f"{WEBHOOKS} webhooks, {KILLS} kills: {again} came again, {len(requests)} requests")  # noqa: T201
    # What a killed process had under way, at most.
    assert again <= KILLS * 8


def test_a_process_that_is_killed_during_its_request_leaves_the_webhook_to_another(
    redis_server: RedisProcess, server: redis.Redis, deliverers: Deliverers
) -> None:
    url = redis_server.url_of("webhooks")

    def answer(_: ReceivedWebhook) -> ReceiverReply:
        if len(receiver.requests) == 1:
            first.kill()
        return ReceiverReply()

    with WebhookReceiver(answer=answer) as receiver:
        first = deliverers.start(url, receiver)
        server.lpush(LIST, job_message(receiver.url()))
        eventually(lambda: receiver.requests, what="a request")
        assert server.zcard("sentq.webhooks.due") == 1
        deliverers.start(url, receiver)
        eventually(lambda: len(receiver.requests) == 2, within_s=WITHIN_S, what="a second one")
        eventually(partial(_is_settled, server), what="settled")
        one, two = receiver.requests
    assert (one.id, one.body) == (two.id, two.body)
    assert two.at_s - one.at_s > 10, "not before the lease expired"
    _check_signatures([one, two])


@pytest.mark.parametrize(
    ("trap", "requests"),
    [
        (Trap(b"delivered"), 2),
        (Trap(b"delivered", on_reply=True), 1),
    ],
    ids=["before Redis has it", "before the reply"],
)
def test_a_process_that_is_killed_as_it_settles_sends_again_if_redis_does_not_know(
    redis_server: RedisProcess,
    server: redis.Redis,
    deliverers: Deliverers,
    trap: Trap,
    requests: int,
) -> None:
    with WebhookReceiver() as receiver, Proxy(redis_server.port) as proxy:
        first = deliverers.start(proxy.url, receiver)
        trap.action = first.process.kill
        proxy.trap = trap
        server.lpush(LIST, job_message(receiver.url()))
        eventually(lambda: trap.hits, what="a kill")
        deliverers.start(redis_server.url_of("webhooks"), receiver)
        eventually(partial(_is_settled, server), within_s=WITHIN_S, what="settled")
        assert len(receiver.requests) == requests
        assert len(set(receiver.ids())) == 1


def test_a_lost_connection_to_redis_sends_no_webhook_again(
    redis_server: RedisProcess, server: redis.Redis, deliverers: Deliverers
) -> None:
    with WebhookReceiver() as receiver, Proxy(redis_server.port) as proxy:
        deliverers.start(proxy.url, receiver)
        proxy.trap = Trap(b"delivered", times=3)
        for number in range(20):
            server.lpush(LIST, job_message(receiver.url(), f"job-{number}"))
        eventually(partial(_is_settled, server), within_s=WITHIN_S, what="settled")
        assert proxy.trap.hits
        assert len(receiver.requests) == 20


@pytest.mark.long
def test_no_webhook_is_lost_when_redis_is_killed(
    own_redis: RedisProcess, workers: ReplaceableWorkers, deliverers: Deliverers
) -> None:
    with (
        WebhookReceiver(answer=lambda _: ReceiverReply(delay_s=0.02)) as receiver,
        Client(broker_url=own_redis.url) as client,
        own_redis.client() as server,
    ):
        server.config_set("appendfsync", "always")
        workers.start(own_redis.url)
        for _ in range(2):
            deliverers.start(own_redis.url_of("webhooks"), receiver)
        then = webhook(receiver.url())
        jobs = client.submit_many((f"text {n}" for n in range(WEBHOOKS)), bulk=True, then=then)
        for part in (WEBHOOKS // 4, WEBHOOKS // 2):
            eventually(lambda part=part: len(_jobs(receiver.requests)) >= part, within_s=WITHIN_S)  # type: ignore[misc]
            own_redis.kill()
            time.sleep(0.5)
            own_redis.start()
        eventually(partial(_all_came, receiver, WEBHOOKS), within_s=WITHIN_S, what="all webhooks")
        eventually(partial(_is_settled, server), within_s=WITHIN_S, what="all settled")
        requests = list(receiver.requests)
    assert set(_jobs(requests)) == {job.id for job in jobs}
    assert len({request.id for request in requests}) == WEBHOOKS, "also of what was lost"
    _check_signatures(requests)


def _all_came(receiver: WebhookReceiver, count: int) -> bool:
    return len(_jobs(list(receiver.requests))) == count
