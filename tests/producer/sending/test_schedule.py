"""Jobs that are due later: what is sent, what is refused, and what the client says of them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from sentq import Client, JobStatus, errors
from sentq.contract import DEADLINE_HEADER, TASK_NAME
from sentq.wire.scheduled import DueTime, moment
from sentq_worker.broker.message import due_ms
from sentq_worker.settings import WorkerSettings
from tests.support.processes import RedisProcess

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S


def _headers(server: RedisProcess) -> list[dict[str, Any]]:
    """Return the headers of the queued messages, the oldest first."""
    with server.client() as redis:
        return [json.loads(raw)["headers"] for raw in redis.lrange("sentq", 0, -1)[::-1]]


def _now_s(server: RedisProcess) -> float:
    with server.client() as redis:
        seconds, microseconds = redis.time()
    return float(seconds) + float(microseconds) / 1e6


# --- What is sent ----------------------------------------------------------------------------


def test_a_delay_is_an_eta_by_the_clock_of_redis(
    sender: Client, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_s = _now_s(redis_server)
    monkeypatch.setattr(time, "time", lambda: before_s - 10 * DAY_S)
    job = sender.submit("text", delay=HOUR_S)
    (headers,) = _headers(redis_server)
    at_ms = due_ms(headers["eta"])
    assert at_ms is not None
    assert 0 <= at_ms / 1000 - before_s - HOUR_S < 10
    assert job.due_at() == moment(at_ms)
    assert job.status() is JobStatus.SCHEDULED
    assert sender.job(job.id).status() is JobStatus.SCHEDULED


def test_a_time_is_sent_as_it_is(sender: Client, redis_server: RedisProcess) -> None:
    at = datetime.now(timezone(timedelta(hours=-8))) + timedelta(days=3)
    at = at.replace(microsecond=123_000)
    jobs = sender.submit_many(["a", "b"], at=at)
    assert [datetime.fromisoformat(headers["eta"]) for headers in _headers(redis_server)] == [
        at
    ] * 2
    assert {job.due_at() for job in jobs} == {at}
    assert {job.status() for job in jobs} == {JobStatus.SCHEDULED}


def test_a_message_with_an_eta_equals_the_one_that_celery_sends(
    client: Client, redis_server: RedisProcess
) -> None:
    at = datetime(2100, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    with Client(broker_url=redis_server.url, max_eta_s=366 * DAY_S) as own:
        with pytest.raises(errors.EtaTooFar):
            own.submit(["text"], at=at)
        at = datetime.now(UTC).replace(microsecond=250_000) + timedelta(days=200)
        job = own.submit(["text"], at=at)
    client._app.send_task(TASK_NAME, args=[["text"]], task_id=job.id, queue="sentq", eta=at)
    ours, celerys = _headers(redis_server)
    assert ours.pop("argsrepr").startswith("<1 text")
    del celerys["argsrepr"]
    assert ours.pop("ignore_result") is False
    assert not celerys.pop("ignore_result")
    assert ours == celerys


@pytest.mark.parametrize(
    "options", [{"delay": 0}, {"delay": 0.0}, {"at": datetime(2020, 1, 1, tzinfo=UTC)}]
)
def test_a_time_that_has_come_means_at_once(
    sender: Client, redis_server: RedisProcess, options: dict[str, Any]
) -> None:
    job = sender.submit("text", deadline=60, **options)
    (headers,) = _headers(redis_server)
    assert headers["eta"] is None
    assert job.status() is JobStatus.QUEUED
    assert job.due_at() is None


def test_what_makes_a_scheduled_job_known_and_its_key_last_until_its_outcome_expires(
    sender: Client,
) -> None:
    sender.submit("a", key="key", delay=10 * DAY_S)
    sender.submit_many(["b", "c"], delay=10 * DAY_S)
    results = sender._app.backend.client
    (key,) = results.keys("sentq-key-*")
    known = results.keys("celery-task-meta-*") + results.keys("sentq-sent-*")
    assert len(known) >= 2
    for name in (key, *known):
        assert 11 * DAY_S - 60 < results.ttl(name) <= 11 * DAY_S + 1


def test_a_repeated_key_returns_the_job_that_was_scheduled_first(
    sender: Client, redis_server: RedisProcess
) -> None:
    first = sender.submit("text", key="order", delay=HOUR_S)
    again = sender.submit("text", key="order")
    assert again.id == first.id
    assert again.status() is JobStatus.SCHEDULED
    assert len(_headers(redis_server)) == 1


def test_a_deadline_counts_from_now(client: Client, redis_server: RedisProcess) -> None:
    now_s = _now_s(redis_server)
    client.submit("text", delay=HOUR_S, deadline=2 * HOUR_S)
    (headers,) = _headers(redis_server)
    assert 0 <= headers[DEADLINE_HEADER] / 1000 - now_s - 2 * HOUR_S < 10


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": -1}, "a delay must be a number of seconds, 0 or more"),
        ({"delay": float("nan")}, "a delay must be a number of seconds, 0 or more"),
        ({"delay": True}, "0 or more, not bool"),
        ({"delay": "1"}, "0 or more, not str"),
        ({"delay": timedelta(1)}, "0 or more, not timedelta"),
        ({"at": datetime(2030, 1, 1)}, "at must have a time zone"),  # noqa: DTZ001
        ({"at": 1_900_000_000}, "a datetime with a time zone, not int"),
        ({"at": "2030-01-01T00:00:00Z"}, "a datetime with a time zone, not str"),
        ({"delay": 1, "at": datetime.now(UTC)}, "give one of them"),
        ({"delay": 60, "deadline": 59}, "59 s from now, must be later .* 60 s from now"),
        ({"delay": 60, "deadline": 60}, "must be later"),
        ({"at": datetime.now(UTC) + timedelta(days=1), "deadline": 60}, "must be later"),
    ],
)
def test_a_wrong_time_is_refused(
    sender: Client, redis_server: RedisProcess, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        sender.submit("text", **options)
    with pytest.raises(errors.InvalidInput, match=message):
        sender.submit_many(["text"], **options)
    with redis_server.client() as redis:
        assert not redis.keys("*")


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 2 * HOUR_S},
        {"delay": float("inf")},
        {"at": datetime.now(UTC) + timedelta(hours=3)},
        {"at": datetime.max.replace(tzinfo=UTC)},
    ],
)
def test_a_time_that_is_too_far_away_is_refused_with_the_limit(
    redis_server: RedisProcess, options: dict[str, Any]
) -> None:
    with (
        Client(broker_url=redis_server.url, max_eta_s=HOUR_S) as client,
        pytest.raises(errors.EtaTooFar, match="max_eta_s is 3,600 s"),
    ):
        client.submit("text", **options)
    assert _headers(redis_server) == []


def test_client_and_worker_have_the_same_limit_by_default(client: Client) -> None:
    assert WorkerSettings().max_eta_s == client._settings.max_eta_s == 30 * DAY_S


def test_a_due_time_is_rounded_up_and_none_once_it_has_come() -> None:
    assert DueTime.after(100.0, 101.0001) == DueTime(101_001, 2)
    assert DueTime.after(100.0, 100.0) is None
    assert DueTime.after(100.0, 99.0) is None


# --- What the client says of it --------------------------------------------------------------


def test_a_job_is_queued_once_its_time_has_come(client: Client) -> None:
    job = client.submit("text", delay=0.05)
    assert job.due_at() is not None
    time.sleep(0.06)
    assert job.status() is JobStatus.QUEUED


def test_a_time_out_says_when_the_job_is_due(client: Client) -> None:
    job = client.submit("text", delay=HOUR_S)
    due_at = job.due_at()
    assert due_at is not None
    with pytest.raises(errors.WaitTimeout, match="it is scheduled for ") as timeout:
        job.result(timeout=0)
    assert timeout.value.status == JobStatus.SCHEDULED
    assert timeout.value.jobs_ahead == 0
    assert due_at.isoformat(timespec="seconds") in str(timeout.value)


def test_a_scheduled_job_is_cancelled_until_after_its_time(
    sender: Client, redis_server: RedisProcess
) -> None:
    jobs = [sender.submit("a", delay=10 * DAY_S), *sender.submit_many(["b", "c"], delay=DAY_S)]
    assert [job.cancel() for job in jobs] == [True] * 3
    results = sender._app.backend.client
    for job, days in zip(jobs, (11, 2, 2), strict=True):
        assert job.status() is JobStatus.CANCELLED
        assert job.due_at() is None
        with pytest.raises(errors.JobCancelled):
            job.result(timeout=0)
        # A worker that has not heard of it scores the job in vain, and the outcome is not stored.
        assert days * DAY_S - 60 < results.ttl(f"celery-task-meta-{job.id}") <= days * DAY_S + 1


@pytest.mark.parametrize("due_ms", ["9000000000000000000", "99999999999999999999"])
def test_a_job_is_cancelled_whatever_its_document_says_of_its_time(
    client: Client, redis_server: RedisProcess, due_ms: str
) -> None:
    job = client.submit("text")
    name = f"celery-task-meta-{job.id}"
    with redis_server.client() as redis:
        redis.set(name, f'{{"status": "PENDING", "result": null, "due_ms": {due_ms}}}')
        assert job.status() is JobStatus.QUEUED
        assert job.due_at() is None
        assert job.cancel()
        assert 0 < redis.ttl(name) <= DAY_S
