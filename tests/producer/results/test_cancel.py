"""Cancellation: clients get the error at once, workers find it later, and results are kept."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from sentq import Client, JobStatus, errors
from sentq.connection.app import own_backend
from sentq.results.cancel import cancelled_ids
from sentq.wire.ids import new_job_ids
from tests.support.processes import RedisProcess, eventually


def test_a_queued_job_is_cancelled_and_a_waiting_client_gets_the_error(
    client: Client, redis_server: RedisProcess
) -> None:
    job, other = client.submit_many(["one", "two"])
    with ThreadPoolExecutor(1) as thread, redis_server.client() as redis:
        waiting = thread.submit(job.result, 30)
        eventually(redis.pubsub_channels)
        assert job.cancel()
        with pytest.raises(errors.JobCancelled):
            waiting.result(30)
        assert 0 < redis.ttl(f"celery-task-meta-{job.id}") <= 24 * 60 * 60
    assert job.status() is JobStatus.CANCELLED
    assert job.cancel(), "a second cancellation returns True too"
    assert other.status() is JobStatus.QUEUED
    (error,) = client.results([job])
    assert isinstance(error, errors.JobCancelled)


def test_workers_are_told_what_celery_would_tell_them(
    client: Client, redis_server: RedisProcess
) -> None:
    with redis_server.client() as redis, redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.psubscribe("*pidbox*")
        job = client.submit("text")
        assert job.cancel()
        client._app.control.revoke(job.id)
        ours, celerys = (eventually(lambda: channel.get_message(timeout=1)) for _ in range(2))
    assert ours["channel"] == celerys["channel"]
    messages = [json.loads(each["data"]) for each in (ours, celerys)]
    for message in messages:
        assert message["headers"].pop("expires") > 0
        del message["headers"]["clock"], message["properties"]["delivery_tag"]
    assert messages[0] == messages[1]
    assert job.id in str(base64.b64decode(messages[0]["body"]))


@pytest.mark.parametrize("status", ["STARTED", "SUCCESS", "FAILURE"])
def test_a_started_job_is_not_cancelled(
    client: Client, redis_server: RedisProcess, status: str
) -> None:
    job = client.submit("text")
    document = json.dumps({"status": status, "result": None})
    with redis_server.client() as redis:
        redis.set(f"celery-task-meta-{job.id}", document)
        assert not job.cancel()
        assert redis.get(f"celery-task-meta-{job.id}") == document.encode()
    assert cancelled_ids(client._app) == {}


def test_an_unknown_job_cannot_be_cancelled(client: Client) -> None:
    with pytest.raises(errors.UnknownJob):
        client.job(new_job_ids(1)[0]).cancel()
    assert cancelled_ids(client._app) == {}


def test_a_worker_started_later_finds_cancelled_jobs(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, result_ttl_s=60) as client:
        jobs = client.submit_many(["one", "two", "three"])
        with redis_server.client() as redis:
            now_s = redis.time()[0]
            redis.zadd("sentq.cancelled", {"older than its result": now_s - 61})
        assert [job.cancel() for job in jobs[:2]] == [True, True]
        assert set(cancelled_ids(client._app)) == {jobs[0].id, jobs[1].id}
        assert cancelled_ids(client._app, since_s=now_s + 60) == {}


def test_an_unavailable_redis_is_a_typed_error(own_redis: RedisProcess) -> None:
    with Client(broker_url=own_redis.url) as client:
        job = client.submit("text")
        own_redis.stop()
        with pytest.raises(errors.ResultsUnavailable):
            job.cancel()


def test_another_thread_reads_cancellations_on_its_own_connection(
    client: Client, redis_server: RedisProcess
) -> None:
    app = client._app
    backend = own_backend(app)
    own_id, other_id = app.backend.client.client_id(), backend.client.client_id()
    assert cancelled_ids(app, backend=backend) == {}
    with redis_server.client() as redis:
        last = {int(each["id"]): each["cmd"] for each in redis.client_list()}
    assert last[other_id] == "evalsha"
    assert last[own_id] != "evalsha"
    backend.client.connection_pool.disconnect()
