"""Messages of webhooks, and the bodies of requests."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import orjson
import pytest

from sentq import JobOutcome
from sentq.results.batch import BatchProgress
from sentq.sending.callback import callback_of_batch, callback_of_jobs
from sentq.webhooks import webhook
from sentq.webhooks.events import UnreadableMessage, batch_body, job_body, read_notice
from sentq.webhooks.retries import retry_delay_s
from sentq.wire.sealing import EncryptionKey, Keyring, Purpose
from tests.support.models.providers import prediction
from tests.support.webhooks.deliveries import job_message

URL = "https://example.com/hook"
BATCH = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"

OUTCOME = JobOutcome.model_validate(
    {
        "outcomes": [
            prediction(0.9).model_dump(mode="json"),
            {"code": "text_too_long", "message": "200 characters; the limit is 100 a text"},
        ],
        "model": "tiny",
        "revision": None,
        "backend": "local:cpu",
        "dtype": "float32",
        "attempts": 1,
        "queued_ms": 1.0,
        "inference_ms": 2.0,
    }
).model_dump(mode="json")


def _body(message: bytes, **options: Any) -> Any:
    return orjson.loads(job_body(read_notice(message), 1_764_316_800_123, **options))


def test_a_job_has_counts_and_no_outcomes_unless_asked_for() -> None:
    body = _body(job_message(URL, "job-1", outcome=OUTCOME))
    assert body == {
        "type": "job.done",
        "timestamp": "2025-11-28T08:00:00.123Z",
        "data": {
            "job_id": "job-1",
            "state": "done",
            "error": None,
            "texts": 2,
            "scored": 1,
            "failed": 1,
            "model": "tiny",
            "revision": None,
        },
    }
    asked = _body(job_message(URL, "job-1", outcome=OUTCOME, outcomes=True))
    assert asked["data"]["outcomes"] == OUTCOME["outcomes"]


def test_what_is_not_in_the_contract_is_left_out() -> None:
    outcome = {**OUTCOME, "texts": ["CANARY"]}
    outcome["outcomes"] = [{**OUTCOME["outcomes"][0], "text": "CANARY"}]
    message = job_message(URL, outcome=outcome, outcomes=True)
    assert "CANARY" not in orjson.dumps(_body(message)).decode()


def test_a_failed_job_has_its_error() -> None:
    body = _body(job_message(URL, "job-1", outcomes=True))
    assert (body["type"], body["data"]["error"]["code"]) == ("job.failed", "WorkerLost")
    assert body["data"]["outcomes"] is None
    assert "texts" not in body["data"]


def test_a_large_body_has_no_outcomes() -> None:
    outcome = {**OUTCOME, "outcomes": [OUTCOME["outcomes"][0]] * 1000}
    body = _body(job_message(URL, outcome=outcome, outcomes=True))
    assert body["data"]["outcomes"] is None
    assert body["data"]["texts"] == 1000


def test_an_encrypted_outcome_is_decrypted_with_the_key_and_left_out_without() -> None:
    keyring = Keyring([EncryptionKey("k", os.urandom(32))])
    sealed = {"sealed": keyring.seal(OUTCOME, Purpose.RESULT, "job-1")}
    message = job_message(URL, "job-1", outcome=sealed, outcomes=True)
    assert _body(message, keyring=keyring)["data"]["outcomes"] == OUTCOME["outcomes"]
    for other in (None, Keyring([EncryptionKey("k", os.urandom(32))])):
        data = _body(message, keyring=other)["data"]
        assert (data["state"], data["outcomes"]) == ("done", None)
        assert "texts" not in data


def test_a_batch_has_its_counts() -> None:
    progress = BatchProgress(id=BATCH, total=3, done=1, failed=1, cancelled=1, is_complete=True)
    body = orjson.loads(batch_body(BATCH, progress, 0))
    assert body["type"] == "batch.complete"
    assert body["data"] == {
        "batch_id": BATCH,
        "state": "complete",
        "total": 3,
        "done": 1,
        "failed": 1,
        "cancelled": 1,
    }
    data = orjson.loads(batch_body(BATCH, None, 0))["data"]
    assert data == {"batch_id": BATCH, "state": "complete"}


def _message(first: object, *rest: object) -> bytes:
    body = base64.b64encode(json.dumps([[first, *rest], {}, {}]).encode()).decode()
    return json.dumps({"body": body}).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b'{"body": 7}',
        b'{"body": "###"}',
        _message({"job_id": "1"}),
        _message({"job_id": "1"}, "https://example.com"),
        _message({"job_id": "1"}, {"url": 7}),
        _message({"job_id": ""}, {"url": URL}),
        _message({"job_id": "1", "error": "CANARY"}, {"url": URL}),
        _message("no batch", {"url": URL}),
        _message(None, {"url": URL}),
    ],
)
def test_other_messages_are_refused_and_not_quoted(message: bytes) -> None:
    with pytest.raises(UnreadableMessage) as error:
        read_notice(message)
    assert "CANARY" not in str(error.value)


def test_a_webhook_is_a_callback_that_gets_how_the_job_ended() -> None:
    then = json.loads(callback_of_jobs(webhook(URL, owner="key-1"), "id", jobs=500))
    assert (then["task"], then["argument"]) == ("sentq.webhook", "outcome")
    assert then["options"]["queue"] == "sentq.webhooks"
    assert then["args"] == [{"url": URL, "outcomes": False, "owner": "key-1"}]
    assert "argument" not in json.loads(callback_of_batch(webhook(URL)))


def test_delays_grow_threefold_up_to_four_hours_and_keep_to_what_a_receiver_asks() -> None:
    for attempt, expected_s in ((1, 5), (2, 15), (3, 45), (8, 10_935), (9, 14_400), (99, 14_400)):
        assert 0.8 * expected_s <= retry_delay_s(attempt) <= 1.2 * expected_s
    assert retry_delay_s(1, asked_s=600) == 600
    assert retry_delay_s(1, asked_s=10**9) == 14_400
    # In a day: as docs/webhooks.md says.
    total_s, attempts = 0.0, 1
    while (total_s := total_s + retry_delay_s(attempts)) < 86_400:
        attempts += 1
    assert 11 <= attempts <= 15
