"""Send options: idempotency keys, deadlines and `local_only`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sentq import Client, Job, JobStatus, errors
from sentq.contract import DEADLINE_HEADER, LOCAL_ONLY_HEADER
from sentq.sending.idempotency import IdempotencyKeys, KeyReservation
from sentq.wire.ids import new_job_ids, sent_at_ms
from sentq_worker.broker.message import is_plain
from tests.support.processes import RedisProcess

CLAIM = IdempotencyKeys().claim("key", ["text"], local_only=False)


def _headers(server: RedisProcess) -> list[dict[str, Any]]:
    """Return the headers of the queued messages, the oldest first."""
    with server.client() as redis:
        return [json.loads(raw)["headers"] for raw in redis.lrange("sentq", 0, -1)[::-1]]


def _ids(server: RedisProcess) -> list[str]:
    return [headers["id"] for headers in _headers(server)]


# --- Keys ------------------------------------------------------------------------------------


def test_a_repeated_key_returns_the_same_job(sender: Client, redis_server: RedisProcess) -> None:
    first = sender.submit("text", key="order 1")
    assert sender.submit(["text"], key="order 1", bulk=True, deadline=9).id == first.id
    other = sender.submit("text", key="order 2")
    assert _ids(redis_server) == [first.id, other.id]
    assert first.status() is JobStatus.QUEUED
    assert sender.job(first.id).status() is JobStatus.QUEUED


def test_submitting_many_keys_sends_only_new_jobs(
    sender: Client, redis_server: RedisProcess
) -> None:
    known = sender.submit("b", key="b")
    jobs = sender.submit_many(["a", "b", "c", "c"], keys=["a", "b", "c", "c"])
    assert [job.id for job in jobs] == [jobs[0].id, known.id, jobs[2].id, jobs[2].id]
    assert _ids(redis_server) == [known.id, jobs[0].id, jobs[2].id]
    assert {job.status() for job in jobs} == {JobStatus.QUEUED}
    again = sender.submit_many(["a", "b"], keys=["a", "b"])
    assert [job.id for job in again] == [jobs[0].id, known.id]
    assert len(_ids(redis_server)) == 3


def test_more_jobs_with_keys_than_a_step_holds(client: Client, redis_server: RedisProcess) -> None:
    keys = [f"key {i}" for i in range(1203)]
    jobs = client.submit_many(["text"] * 1203, keys=keys)
    again = client.submit_many(["text"] * 1203, keys=keys)
    assert [job.id for job in again] == [job.id for job in jobs] == _ids(redis_server)


def test_a_key_is_hashed_and_expires_with_the_result(
    redis_server: RedisProcess,
) -> None:
    with Client(broker_url=redis_server.url, result_ttl_s=100) as client:
        client.submit("text", key="CANARY")
    claim = IdempotencyKeys().claim("CANARY", ["text"], local_only=False)
    with redis_server.client() as redis:
        assert not any(b"CANARY" in key for key in redis.scan_iter())
        assert 0 < redis.ttl(claim.name) <= 100


_RACE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from sentq import Client
with Client(broker_url=sys.argv[1], result_url=sys.argv[2]) as client, ThreadPoolExecutor(8) as t:
    print(*t.map(lambda i: client.submit("text", key=f"key {i % 5}").id, range(100)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("results", ["/0", "/1"], ids=["script", "other database"])
def test_one_of_several_racing_clients_sends_the_job_of_a_key(
    redis_server: RedisProcess, results: str
) -> None:
    command = [sys.executable, "-c", _RACE, redis_server.url]
    command += [redis_server.url.removesuffix("/0") + results]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ids_of_racers = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert [len(ids) for ids in ids_of_racers] == [100, 100, 100]
    assert len({tuple(ids) for ids in ids_of_racers}) == 1
    assert sorted(_ids(redis_server)) == sorted(set(ids_of_racers[0]))
    assert len(set(ids_of_racers[0])) == 5


def test_a_failed_push_leaves_no_key_behind(own_redis: RedisProcess) -> None:
    # The results' database has memory; the broker rejects the job.
    with own_redis.client() as redis, Client(broker_url=own_redis.url) as client:
        redis.config_set("maxmemory", 1)
        with pytest.raises(errors.RedisFull):
            client.submit("text", key="key")
        redis.config_set("maxmemory", 0)
        assert redis.dbsize() == 0
        job = client.submit("text", key="key")
        assert _ids(own_redis) == [job.id]


def test_a_failed_publication_leaves_no_key_behind(
    own_redis: RedisProcess, redis_server: RedisProcess
) -> None:
    with Client(broker_url=own_redis.url, result_url=redis_server.url) as client:
        own_redis.stop()
        with pytest.raises(errors.BrokerUnavailable):
            client.submit("text", key="key")
        with redis_server.client() as redis:
            assert redis.dbsize() == 0
        own_redis.start()
        job = client.submit("text", key="key")
        assert _ids(own_redis) == [job.id]


def test_a_second_client_waits_while_a_job_with_the_same_key_is_sent(client: Client) -> None:
    first, second = (
        KeyReservation(client._results, CLAIM, new_job_ids(1)[0], lasts_s=20) for _ in range(2)
    )
    assert first.take() is None
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(second.take)
        first.release()
        assert waiting.result(10) is None, "the first client sent nothing, so the second one sends"
        waiting = thread.submit(first.take)
        second.keep(60)
        assert waiting.result(10) == second._job_id


def test_the_key_reservation_of_a_dead_client_expires(client: Client) -> None:
    dead, next_one = (
        KeyReservation(client._results, CLAIM, new_job_ids(1)[0], lasts_s=1) for _ in range(2)
    )
    assert dead.take() is None
    assert next_one.take() is None


@pytest.mark.parametrize("keys", [["one"], ["one", ""], ["one", 2], ["1", "2", "3"]])
def test_invalid_keys_are_rejected(
    client: Client, redis_server: RedisProcess, keys: list[Any]
) -> None:
    with pytest.raises(errors.InvalidInput):
        client.submit_many(["a", "b"], keys=keys)
    assert _ids(redis_server) == []


# --- Deadlines and local-only jobs -----------------------------------------------------------


def test_send_options_are_headers_and_keep_the_job_plain(
    sender: Client, redis_server: RedisProcess
) -> None:
    sender.submit("text")
    sender.submit_many(["a", "b"], deadline=60, local_only=True)
    sender.submit("text")
    before, *with_options, after = _headers(redis_server)
    with redis_server.client() as redis:
        seconds, microseconds = redis.time()
    for headers in with_options:
        left_ms = headers[DEADLINE_HEADER] - (seconds * 1000 + microseconds // 1000)
        assert 55_000 < left_ms <= 60_000
        assert headers[LOCAL_ONLY_HEADER] is True
        assert is_plain(headers)
    for headers in (before, after):
        assert DEADLINE_HEADER not in headers
        assert LOCAL_ONLY_HEADER not in headers


def test_deadlines_use_the_clock_of_redis(
    client: Client, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server.client() as redis:
        now_s = redis.time()[0]
    monkeypatch.setattr(time, "time", lambda: 0.0)
    client.submit("text", deadline=10)
    (headers,) = _headers(redis_server)
    assert 0 < headers[DEADLINE_HEADER] / 1000 - now_s < 15


def test_ids_tell_the_time_by_the_clock_of_redis(
    sender: Client, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server.client() as redis:
        now_s = redis.time()[0]
    monkeypatch.setattr(time, "time", lambda: now_s - 3600.0)
    monkeypatch.setattr(time, "time_ns", lambda: (now_s - 3600) * 10**9)
    for job in (sender.submit("text"), *sender.submit_many(["a", "b"])):
        sent_ms = sent_at_ms(job.id)
        assert sent_ms is not None
        assert abs(sent_ms / 1000 - now_s) < 15


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), 1e12])
def test_an_invalid_deadline_is_rejected(client: Client, deadline: float) -> None:
    with pytest.raises(errors.InvalidInput, match="deadline"):
        client.submit("text", deadline=deadline)


def test_a_job_with_a_key_has_a_job_handle(client: Client) -> None:
    assert isinstance(client.submit("text", key="key"), Job)
