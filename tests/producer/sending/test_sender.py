"""Sending: messages equal those of Celery, and each step is sent as a whole or not at all."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals

from sentq import Client, JobStatus, errors
from sentq.contract import TASK_NAME
from tests.support.processes import RedisProcess


@pytest.fixture
def published_ids() -> Iterator[list[str]]:
    """The ids in Celery's publish signal, to which tracing libraries listen."""
    ids: list[str] = []

    def listen(headers: dict[str, Any], **_: Any) -> None:
        ids.append(headers["id"])

    signals.before_task_publish.connect(listen)
    yield ids
    signals.before_task_publish.disconnect(listen)


def _messages(redis: RedisProcess, queue: str = "sentq") -> list[dict[str, Any]]:
    """Return the queued messages, the oldest first, with decoded bodies."""
    with redis.client() as client:
        messages = [json.loads(raw) for raw in client.lrange(queue, 0, -1)[::-1]]
    for message in messages:
        message["body"] = json.loads(base64.b64decode(message["body"]))
    return messages


@pytest.mark.parametrize(
    ("texts", "model"),
    [
        (["plain"], None),
        (['"quotes" \\ and\nlines', "ümläut 日本 🎉", ""], None),
        (["plain"], "multilingual"),
    ],
)
def test_a_message_equals_the_one_that_celery_sends(
    client: Client, redis_server: RedisProcess, texts: list[str], model: str | None
) -> None:
    job_id = client.submit(texts, model=model).id
    app = client._app
    kwargs = {} if model is None else {"model": model}
    app.send_task(TASK_NAME, args=[texts], kwargs=kwargs, task_id=job_id, queue="sentq")
    sentqs, celerys = _messages(redis_server)
    assert sentqs["headers"].pop("argsrepr").startswith(f"<{len(texts)} text")
    for message in (sentqs, celerys):
        # These differ on purpose: the tag is unique, `reply_to` is for Celery's RPC back end,
        # which sentq does not use, and the texts are private.
        del message["properties"]["delivery_tag"], message["properties"]["reply_to"]
        message["headers"].pop("argsrepr", None)
        message["headers"].pop("kwargsrepr", None)
        # `send_task` sends None where a task sends False.
        message["headers"]["ignore_result"] = bool(message["headers"]["ignore_result"])
    assert sentqs == celerys


def test_a_thousand_jobs_arrive_in_order_and_have_a_status(
    client: Client, redis_server: RedisProcess
) -> None:
    jobs = client.submit_many(f"text {i}" for i in range(1203))
    messages = _messages(redis_server)
    assert [message["body"][0][0] for message in messages] == [[f"text {i}"] for i in range(1203)]
    assert [message["headers"]["id"] for message in messages] == [job.id for job in jobs]
    assert len({message["properties"]["delivery_tag"] for message in messages}) == 1203
    assert {job.status() for job in jobs} == {JobStatus.QUEUED}
    with redis_server.client() as redis:
        # Three steps, and the queue.
        assert redis.dbsize() == 3 + 1
        assert 0 < redis.ttl(f"sentq-sent-{jobs[-1].id[:23]}") <= 24 * 60 * 60
        redis.delete(f"sentq-sent-{jobs[-1].id[:23]}")
    assert jobs[-1].status() is JobStatus.UNKNOWN


def test_large_jobs_go_in_several_steps(client: Client, redis_server: RedisProcess) -> None:
    jobs = client.submit_many([["x" * 90_000] * 10] * 12, bulk=True)
    assert [m["headers"]["id"] for m in _messages(redis_server, "sentq.bulk")] == [
        job.id for job in jobs
    ]


def test_one_invalid_job_prevents_the_whole_submission(
    client: Client, redis_server: RedisProcess
) -> None:
    with pytest.raises(errors.EmptyJob):
        client.submit_many([["good"], []])
    with pytest.raises(errors.NotAString):
        client.submit_many(["good", 5])  # type: ignore[list-item]
    assert _messages(redis_server) == []


def test_an_empty_submission_sends_nothing(client: Client) -> None:
    assert client.submit_many([]) == []


def test_a_full_redis_accepts_a_step_as_a_whole_or_not_at_all(own_redis: RedisProcess) -> None:
    with own_redis.client() as redis, Client(broker_url=own_redis.url) as client:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 8_000_000)
        with pytest.raises(errors.RedisFull) as refused:
            client.submit_many(["x" * 500] * 20_000)
        # Redis checks its memory at the beginning of a step.
        queued = {message["headers"]["id"] for message in _messages(own_redis)}
        assert queued == set(refused.value.accepted)
        assert 0 < len(queued) < 20_000
        assert len(queued) % 500 == 0
        assert redis.dbsize() == len(queued) / 500 + 1
        redis.config_set("maxmemory", 0)
        assert client.submit("room again").status() is JobStatus.QUEUED


def test_celerys_publish_signal_is_sent_for_each_job(
    client: Client, redis_server: RedisProcess, published_ids: list[str]
) -> None:
    jobs = client.submit_many(["one", "two"])
    assert published_ids == [job.id for job in jobs]
    assert [message["headers"]["id"] for message in _messages(redis_server)] == published_ids


def test_jobs_are_sent_when_results_are_in_another_database(redis_server: RedisProcess) -> None:
    other_database = redis_server.url.removesuffix("/0") + "/1"
    with Client(broker_url=redis_server.url, result_url=other_database) as client:
        jobs = client.submit_many(["one", "two"])
        assert [message["headers"]["id"] for message in _messages(redis_server)] == [
            job.id for job in jobs
        ]
        assert {job.status() for job in jobs} == {JobStatus.QUEUED}


def test_a_forked_process_sends_with_its_own_origin(
    client: Client, redis_server: RedisProcess
) -> None:
    program = """
import os, sys
from sentq import Client
with Client(broker_url=sys.argv[1]) as client:
    client.submit("before")
    if os.fork() == 0:
        client.submit("after")
        os._exit(0)
    os.wait()
"""
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=60)
    before, after = (message["headers"]["origin"] for message in _messages(redis_server))
    assert before != after
