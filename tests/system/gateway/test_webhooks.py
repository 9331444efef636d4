"""Webhooks over HTTP: `callback_url` of jobs and batches, delivered by the gateways themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from sentq import Prediction, Settings
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.process import PROBLEMS
from tests.support.processes import RedisProcess, eventually
from tests.support.webhooks.deliveries import SECRET, DelivererProcess, webhook_environment
from tests.support.webhooks.receiver import ReceivedWebhook, ReceiverReply, WebhookReceiver
from tests.system.gateway.conftest import StartGateway

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def _came(receiver: WebhookReceiver, subject_id: str) -> ReceivedWebhook | None:
    for each in list(receiver.requests):
        if subject_id in (each.json["data"].get("job_id"), each.json["data"].get("batch_id")):
            return each
    return None


def _webhook(
    receiver: WebhookReceiver, subject_id: str, *, within_s: float = 30
) -> ReceivedWebhook:
    found = eventually(partial(_came, receiver, subject_id), within_s=within_s, what="a webhook")
    assert found is not None
    return found


def test_a_job_and_a_batch_call_their_receivers(
    start_gateway: StartGateway, scored_redis: RedisProcess, receiver: WebhookReceiver
) -> None:
    settings = Settings.load(broker_url=scored_redis.url_of("operator"))
    key = with_new_key(settings, "shop")
    gateway = start_gateway(**webhook_environment(receiver.origin))
    signer = load_signer(WebhookSettings.load(secrets=[SECRET]))
    with gateway.client(key.key) as http:
        body = {
            "texts": ["a", "b"],
            "callback_url": receiver.url("/job"),
            "callback_outcomes": True,
        }
        job = http.post("/v1/jobs", json=body).json()["id"]
        batch = http.post(
            "/v1/batches",
            params={"callback_url": receiver.url("/batch"), "texts_per_job": 1},
            content=b'"x"\n"y"\n"z"\n',
            headers={"Content-Type": "application/x-ndjson"},
        ).json()["id"]
        of_job, of_batch = _webhook(receiver, job), _webhook(receiver, batch)
        outcomes = http.get(f"/v1/jobs/{job}").json()["outcome"]["outcomes"]
    (secret,) = signer.secrets_of(key.record.id)
    for each in (of_job, of_batch):
        Webhook(secret).verify(each.body, dict(each.headers))
    sent = [Prediction.model_validate(each) for each in of_job.json["data"]["outcomes"]]
    assert sent == [Prediction.model_validate(each) for each in outcomes]
    assert (of_batch.json["data"]["total"], of_batch.json["data"]["done"]) == (3, 3)
    assert gateway.stop() == 0
    assert not PROBLEMS.search(gateway.log), gateway.log
    assert "/job" not in gateway.log.replace("/v1/jobs", "")


def test_a_url_that_is_not_allowed_is_refused_and_nothing_is_sent(
    start_gateway: StartGateway, receiver: WebhookReceiver
) -> None:
    gateway = start_gateway(**webhook_environment("https://hooks.example.com"))
    silent = start_gateway()
    for each, reason in ((gateway, "webhooks.hosts"), (silent, "webhooks.secrets")):
        with each.client() as http:
            refused = http.post("/v1/jobs", json={"texts": "x", "callback_url": receiver.url()})
            assert refused.status_code == 422
            assert refused.json()["type"] == "urn:sentq:problem:webhook-refused"
            assert reason in refused.json()["detail"]
            upload = http.post(
                "/v1/batches",
                params={"callback_url": "http://169.254.169.254/"},
                content=b'"x"\n',
                headers={"Content-Type": "application/x-ndjson"},
            )
            assert upload.status_code == 422
    assert not receiver.connections


def test_a_gateway_without_a_secret_leaves_webhooks_to_another_process(
    start_gateway: StartGateway,
    scored_redis: RedisProcess,
    receiver: WebhookReceiver,
    tmp_path: Path,
) -> None:
    environment = webhook_environment(receiver.origin)
    del environment["SENTQ_WEBHOOKS_SECRETS"]
    gateway = start_gateway(**environment, SENTQ_GATEWAY_DELIVERS_WEBHOOKS="false")
    with gateway.client() as http:
        sent = http.post("/v1/jobs", json={"texts": "x", "callback_url": receiver.url()})
        assert sent.status_code == 202
        job_id = sent.json()["id"]
        outcome = http.get(sent.headers["location"], headers={"Prefer": "wait=30"})
    assert outcome.json()["status"] == "done"
    with scored_redis.client() as redis:
        eventually(lambda: redis.llen("sentq.webhooks"), what="a webhook that waits")
    assert not receiver.connections
    deliverer = DelivererProcess(
        tmp_path, scored_redis.url_of("webhooks"), webhook_environment(receiver.origin)
    )
    try:
        found = _webhook(receiver, job_id)
    finally:
        assert deliverer.stop() == 0
    (secret,) = load_signer(WebhookSettings.load(secrets=[SECRET])).secrets_of("")
    Webhook(secret).verify(found.body, dict(found.headers))


def test_another_gateway_delivers_the_webhooks_of_one_that_was_killed(
    start_gateway: StartGateway, receiver: WebhookReceiver
) -> None:
    environment = webhook_environment(receiver.origin, timeout_s=1)
    first, second = start_gateway(**environment), start_gateway(**environment)
    receiver.answer = lambda _: ReceiverReply(delay_s=0.3)
    with first.client() as http:
        jobs = [
            http.post("/v1/jobs", json={"texts": f"t{n}", "callback_url": receiver.url()}).json()
            for n in range(60)
        ]
    eventually(lambda: len(receiver.requests) >= 10, what="some webhooks")
    first.kill()
    # The lease of what it had under way holds for some time.
    for job in jobs:
        _webhook(receiver, job["id"], within_s=60)
    time.sleep(0.5)
    assert second.stop() == 0
    assert not PROBLEMS.search(second.log), second.log
