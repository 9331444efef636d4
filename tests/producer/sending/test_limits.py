"""Full queues and a full Redis: jobs are rejected at once, with the time to retry after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import signals

from sentq import Client, JobStatus, errors
from sentq.connection.broker import BrokerKeys, queue_lists
from sentq.wire.reports import WorkerReport, write_report
from tests.support.processes import RedisProcess


def _report(server: RedisProcess, **about: Any) -> None:
    now_s = time.time()
    fields = {"worker": "w", "queues": ("sentq",), "jobs_per_s": 10.0} | about
    with server.client() as redis:
        write_report(redis, WorkerReport(at_s=now_s, started_at_s=now_s, **fields), lifetime_s=60)


def _llen(server: RedisProcess, queue: str = "sentq") -> int:
    with server.client() as redis:
        return int(redis.llen(queue))


@pytest.fixture
def publish_listener() -> Iterator[None]:
    def listen(**_: Any) -> None:
        """Connect to the signal, as tracing libraries do."""

    signals.before_task_publish.connect(listen)
    yield
    signals.before_task_publish.disconnect(listen)


def test_a_full_queue_rejects_jobs_and_says_when_to_retry(
    redis_server: RedisProcess,
) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=30) as client:
        client.submit_many(["text"] * 30)
        with pytest.raises(errors.QueueFull, match="no worker") as refused:
            client.submit("text")
        assert refused.value.retry_after_s == 10
        _report(redis_server, jobs_per_s=0.0)
        with pytest.raises(errors.QueueFull, match="no worker has reported its rate") as refused:
            client.submit("text")
        assert refused.value.retry_after_s == 10
        _report(redis_server)
        _report(redis_server, worker="of bulk jobs only", queues=("sentq.bulk",))
        with pytest.raises(errors.QueueFull, match="max_queued_jobs is 30") as refused:
            client.submit_many(["text"] * 20)
        assert refused.value.retry_after_s == pytest.approx(2.0)
        assert refused.value.accepted == []
        assert client.submit("text", bulk=True).status() is JobStatus.QUEUED
        with redis_server.client() as redis:
            redis.rpop("sentq")
        assert client.submit("text").status() is JobStatus.QUEUED
    assert _llen(redis_server) == 30


def test_jobs_of_lower_priority_count_towards_the_limit(redis_server: RedisProcess) -> None:
    with redis_server.client() as redis:
        redis.lpush("sentq\x06\x163", *["{}"] * 5)
    with Client(broker_url=redis_server.url, max_queued_jobs=6) as client:
        client.submit("text")
        with pytest.raises(errors.QueueFull):
            client.submit("text")


def test_a_queue_has_the_same_lists_as_in_kombu(client: Client) -> None:
    with client._app.connection() as connection:
        channel = connection.default_channel
        kombus = [channel._q_for_pri("sentq", priority) for priority in range(10)]
    assert [BrokerKeys().list_of("sentq", p) for p in range(10)] == kombus
    assert queue_lists("sentq") == list(dict.fromkeys(kombus))


def test_the_steps_before_a_rejected_one_are_accepted(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=1200) as client:
        with pytest.raises(errors.QueueFull) as refused:
            client.submit_many(["text"] * 2000)
        accepted = list(refused.value.accepted)
        assert len(accepted) == _llen(redis_server) == 1000
        assert {client.job(job_id).status() for job_id in accepted} == {JobStatus.QUEUED}
        with redis_server.client() as redis:
            # There is no trace of the rejected jobs: only the keys of two steps, and the queue.
            assert redis.dbsize() == 3


def test_a_limit_smaller_than_a_step_is_filled(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=10) as client:
        with pytest.raises(errors.QueueFull) as refused:
            client.submit_many(["text"] * 15)
        assert len(refused.value.accepted) == _llen(redis_server) == 10


def test_the_bytes_of_a_queue_are_limited(redis_server: RedisProcess) -> None:
    limit_bytes = 4 * 1024 * 1024
    _report(redis_server)
    with Client(broker_url=redis_server.url, max_queued_bytes=limit_bytes) as client:
        with pytest.raises(errors.QueueFull, match="max_queued_bytes is 4,194,304") as refused:
            client.submit_many([["x" * 90_000]] * 100)
        with redis_server.client() as redis:
            used_bytes = redis.memory_usage("sentq", samples=0)
            redis.rpop("sentq", 5)  # Memory per job differs by some percent among versions.
        assert used_bytes is not None
        assert limit_bytes / 2 < used_bytes < limit_bytes * 1.1
        assert refused.value.retry_after_s is not None
        assert 0 < refused.value.retry_after_s < 10
        assert client.submit("small").status() is JobStatus.QUEUED


def test_a_job_with_a_known_key_needs_no_capacity(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=1) as client:
        job = client.submit("text", key="key")
        assert client.submit("text", key="key").id == job.id
        with pytest.raises(errors.QueueFull):
            client.submit("text", key="another")
        with redis_server.client() as redis:
            redis.rpop("sentq")
        assert client.submit("text", key="another").id != job.id


@pytest.mark.parametrize("results", ["/0", "/1"])
def test_the_limit_applies_when_celery_publishes_the_jobs(
    redis_server: RedisProcess, publish_listener: None, results: str
) -> None:
    url = redis_server.url
    _report(redis_server)
    with Client(
        broker_url=url, result_url=url.removesuffix("/0") + results, max_queued_jobs=120
    ) as client:
        with pytest.raises(errors.QueueFull) as refused:
            client.submit_many(["text"] * 130, keys=map(str, range(130)))
        assert len(refused.value.accepted) == _llen(redis_server) == 120
        assert refused.value.retry_after_s == pytest.approx(0.1)
        with redis_server.client() as redis:
            redis.rpop("sentq")
        assert client.submit("text", key="125").status() is JobStatus.QUEUED


def test_queue_limits_need_a_redis_broker() -> None:
    with pytest.raises(errors.SettingsError, match="need a broker that is Redis"):
        Client(broker_url="amqp://x", result_url="redis://x", max_queued_jobs=1)


def test_a_redis_at_maxmemory_raises_redis_full_at_once(own_redis: RedisProcess) -> None:
    elsewhere = own_redis.url.removesuffix("/0") + "/1"
    with (
        own_redis.client() as redis,
        Client(broker_url=own_redis.url) as client,
        Client(broker_url=own_redis.url, result_url=elsewhere) as publishing,
    ):
        accepted = client.submit_many(["text"] * 3)
        redis.config_set("maxmemory", 1)
        for full in (client, publishing):
            for options in ({}, {"key": "key"}, {"bulk": True}):
                started = time.monotonic()
                with pytest.raises(errors.RedisFull, match="maxmemory") as refused:
                    full.submit("text", **options)
                assert refused.value.retry_after_s == 10
                assert time.monotonic() - started < 3
        assert {job.status() for job in accepted} == {JobStatus.QUEUED}
        assert redis.llen("sentq") == 3
        redis.config_set("maxmemory", 0)
        assert publishing.submit("text", key="key").status() is JobStatus.QUEUED


def test_map_waits_for_capacity_and_continues(
    redis_server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    url = redis_server.url
    with Client(broker_url=url, max_queued_jobs=2) as client, redis_server.client() as redis:

        def work() -> None:
            """Finish each job as a worker does."""
            done = 0
            while done < len(texts):
                _, raw = redis.brpop(["sentq.bulk"], timeout=10)
                job_id = json.loads(raw)["headers"]["id"]
                client._app.backend.store_result(job_id, _outcome_document(), "SUCCESS")
                done += 1

        texts = [f"text {i}" for i in range(12)]
        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(work)
            outcomes = list(client.map(texts, texts_per_job=1, jobs_in_flight=8, timeout=20))
            working.result(20)
    assert len(outcomes) == 12


def test_map_stops_waiting_for_capacity_at_its_timeout(
    redis_server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=1) as client:
        client.submit("text", bulk=True)
        started = time.monotonic()
        with pytest.raises(errors.QueueFull):
            list(client.map(["CANARY"], timeout=0.5))
        assert time.monotonic() - started < 3
    (record,) = caplog.records
    assert "waiting for capacity" in record.message
    assert "CANARY" not in record.message


def _outcome_document() -> dict[str, Any]:
    scored = {
        "label": "x",
        "score": 1,
        "scores": {"x": 1},
        "sentiment": 0,
        "tokens": 1,
        "windows": 1,
    }
    about = {"model": "m", "revision": None, "backend": "b", "dtype": "d", "attempts": 1}
    return {"outcomes": [scored], **about, "queued_ms": None, "inference_ms": 0}
