"""The scripts that open, fill, close and cancel batches, each on a real Redis: the normal case,
refusals, repetition, and what a hostile sender wrote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from sentq.wire.batches import MAX_JOBS_PER_BATCH
from sentq.wire.documents import cancelled_document
from sentq.wire.ids import new_job_ids
from sentq.wire.lua import Script, load_script
from tests.support.batch.scripts import (
    BATCH,
    BATCHES,
    KEY,
    TTL_S,
    close,
    counts,
    end_order,
    open_batch,
    push,
)
from tests.support.redis_state import contents, full_memory

pytestmark = pytest.mark.redis

OPEN: Final = load_script("sentq.wire", "open_batch")
PUSH: Final = load_script("sentq.wire", "push_batch_jobs")
CLOSE: Final = load_script("sentq.wire", "close_batch")
CANCEL_SOME: Final = load_script("sentq.wire", "cancel_batch_jobs")
CANCEL: Final = load_script("sentq.wire", "cancel_job")
PARTS: Final = ("", ":jobs", ":states", ":ends")


# --- push_batch_jobs -----------------------------------------------------------------------


def test_jobs_enter_the_batch_and_the_queue_in_one_step(server: redis.Redis) -> None:
    open_batch(server)
    ids = new_job_ids(3)
    assert push(server, ids) == [1]
    assert push(server, 2, place=3) == [1]
    assert server.llen("queue") == 5
    assert counts(server) == {"total": 5}
    document = server.get(f"sent-{ids[0][:23]}")
    assert document == (
        b'{"status": "PENDING", "result": null, "sentq_batch": "%s:0"}' % BATCH.encode()
    )


def test_a_repeated_step_changes_nothing(server: redis.Redis) -> None:
    open_batch(server)
    ids = new_job_ids(3)
    push(server, ids, closes=True)
    before = contents(server)
    assert push(server, ids, closes=True) == [1]
    assert contents(server) == before


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_wrong_place_is_refused_with_the_right_one(server: redis.Redis, place: int) -> None:
    open_batch(server)
    push(server, 3)
    before = contents(server)
    assert push(server, 2, place=place) == [-1, 3]
    assert contents(server) == before


def test_a_closed_batch_takes_no_more_jobs(server: redis.Redis) -> None:
    open_batch(server)
    push(server, 1, closes=True)
    before = contents(server)
    assert push(server, 1, place=1) == [-2]
    assert contents(server) == before


def test_an_unknown_batch_takes_no_jobs(server: redis.Redis) -> None:
    assert push(server, 1) == [-3]
    assert close(server) == 0
    assert not server.keys("*")


def test_a_batch_has_at_most_a_million_jobs(server: redis.Redis) -> None:
    open_batch(server)
    server.hset(KEY, "total", MAX_JOBS_PER_BATCH - 1)
    assert push(server, 2, place=MAX_JOBS_PER_BATCH - 1) == [-4, MAX_JOBS_PER_BATCH]
    assert push(server, 1, place=MAX_JOBS_PER_BATCH - 1) == [1]


def test_the_limits_of_the_queue_apply(server: redis.Redis) -> None:
    open_batch(server)
    server.lpush("low", "waiting")
    reply = push(server, 2, limit=2)
    assert reply[:2] == [0, 1]
    assert reply[3] == 2
    assert counts(server) == {}
    assert push(server, 2, limit=3) == [1]


def test_a_full_redis_refuses_a_step_as_a_whole(server: redis.Redis) -> None:
    open_batch(server)
    before = contents(server)
    with full_memory(server), pytest.raises(OutOfMemoryError):
        push(server, 2)
    assert contents(server) == before


# --- open_batch, close_batch ---------------------------------------------------------------


def test_a_batch_without_jobs_is_complete_when_it_is_closed(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    assert not server.hexists(KEY, "complete_ms")
    assert close(server) == 1
    assert server.hexists(KEY, "complete_ms")
    assert server.zrange(BATCHES, 0, -1) == [KEY.encode()]
    complete_ms = server.hget(KEY, "complete_ms")
    server.delete(BATCHES)
    assert close(server) == 1, "a repetition"
    assert server.hget(KEY, "complete_ms") == complete_ms
    assert not server.exists(BATCHES)


def test_opening_again_keeps_the_batch(server: redis.Redis) -> None:
    open_batch(server)
    push(server, 2)
    open_batch(server, callback="other")
    assert counts(server) == {"total": 2}
    assert server.hget(KEY, "callback") is None


def test_a_full_redis_does_not_keep_a_batch_from_being_closed(server: redis.Redis) -> None:
    open_batch(server)
    push(server, 1)
    with full_memory(server):
        assert close(server) == 1
    assert counts(server)["closed"] == 1


def test_each_key_of_a_batch_expires(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    ids = new_job_ids(2)
    push(server, ids, closes=True)
    assert _cancel_some(server, ids) == 2
    for part in PARTS:
        assert 0 < server.ttl(KEY + part) <= TTL_S, part
    assert 0 < server.ttl(BATCHES) <= TTL_S


# --- cancel_batch_jobs ---------------------------------------------------------------------


def _cancel_some(server: redis.Redis, ids: Sequence[str], *, first: int = 0) -> Any:
    documents = map(cancelled_document, ids)
    return CANCEL_SOME.run(
        server, [KEY, BATCHES, "cancelled", *ids], [TTL_S, BATCH, first, *documents]
    )


def test_jobs_that_neither_run_nor_have_ended_are_cancelled(server: redis.Redis) -> None:
    open_batch(server)
    ids = new_job_ids(5)
    push(server, ids)
    server.set(ids[0], '{"status": "PENDING"}')
    server.set(ids[1], '{"status": "STARTED"}')
    server.set(ids[2], '{"status": "PROGRESS"}')
    assert _cancel_some(server, ids) == 3, "two have no document: it has expired"
    assert counts(server) == {"total": 5, "cancelled": 3, "closed": 1}
    assert end_order(server) == [0, 3, 4]
    assert server.zrange("cancelled", 0, -1) == [BATCH.encode()]
    assert b"REVOKED" in (server.get(ids[3]) or b"")
    before = contents(server)
    assert _cancel_some(server, ids) == 0
    assert contents(server) == before


def test_jobs_that_ended_uncounted_are_counted_when_their_batch_is_cancelled(
    server: redis.Redis,
) -> None:
    open_batch(server)
    ids = new_job_ids(3)
    push(server, ids)
    for job_id, status in zip(ids, ("SUCCESS", "FAILURE", "REVOKED"), strict=True):
        server.set(job_id, f'{{"status": "{status}", "result": "of a stock worker"}}')
    assert _cancel_some(server, ids) == 0
    assert counts(server) == {"total": 3, "done": 1, "failed": 1, "cancelled": 1, "closed": 1}
    assert server.hexists(KEY, "complete_ms")


def test_a_job_whose_outcome_has_expired_is_not_cancelled(server: redis.Redis) -> None:
    open_batch(server)
    ids = new_job_ids(1)
    push(server, ids)
    assert _cancel_some(server, ids) == 1
    server.delete(ids[0])
    assert _cancel_some(server, ids) == 0
    assert not server.exists(ids[0])
    assert counts(server)["cancelled"] == 1


# --- cancel_job ----------------------------------------------------------------------------


def _cancel(server: redis.Redis, job_id: str) -> Any:
    return CANCEL.run(
        server,
        [job_id, f"sent-{job_id[:23]}", "cancelled", BATCHES],
        [cancelled_document(job_id), TTL_S, job_id, "sentq-batch-"],
    )


def test_a_cancelled_job_is_counted_in_its_batch_once(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    push(server, 500)
    ids = new_job_ids(500)
    push(server, ids, place=500, closes=True)
    for number, job_id in enumerate((ids[0], ids[499], ids[250]), 1):
        assert _cancel(server, job_id)[1] == 1
        assert _cancel(server, job_id)[1] == 0
        assert counts(server)["cancelled"] == number
    assert end_order(server) == [500, 999, 750]
    assert not server.exists(BATCHES)


def test_the_last_cancelled_job_completes_the_batch(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    (job_id,) = new_job_ids(1)
    push(server, [job_id], closes=True)
    _cancel(server, job_id)
    assert server.zrange(BATCHES, 0, -1) == [KEY.encode()]


def test_a_job_that_was_retried_by_celery_is_cancelled_in_its_batch(server: redis.Redis) -> None:
    open_batch(server)
    (job_id,) = new_job_ids(1)
    push(server, [job_id])
    server.set(job_id, '{"status": "RETRY"}')
    assert _cancel(server, job_id)[1] == 1
    assert counts(server)["cancelled"] == 1


def test_a_job_that_its_batch_does_not_have_is_cancelled_and_not_counted(
    server: redis.Redis,
) -> None:
    open_batch(server)
    ids = new_job_ids(2)
    push(server, ids[:1])
    assert _cancel(server, ids[1])[1] == 1
    assert counts(server) == {"total": 1}


@pytest.mark.parametrize("part", PARTS)
def test_keys_of_another_type_raise_no_error_for_a_job(server: redis.Redis, part: str) -> None:
    open_batch(server)
    (job_id,) = new_job_ids(1)
    push(server, [job_id])
    server.delete(KEY + part)
    server.sadd(KEY + part, "junk")
    assert _cancel(server, job_id)[1] == 1


# --- Hostile arguments ---------------------------------------------------------------------


@pytest.mark.parametrize("number", ["-1", "1e18", "-1e18", "inf", "nan", "0.5", "", "x"])
def test_hostile_numbers_neither_loop_nor_allocate(server: redis.Redis, number: str) -> None:
    open_batch(server)
    push(server, 2)
    calls: list[tuple[Script, list[str], list[object]]] = [
        (OPEN, [f"{KEY}-other"], [number, "{}"]),
        (PUSH, ["queue", "sent", KEY, BATCHES, "low"], [TTL_S, "d", *[number] * 3, "x" * 16, ""]),
        (PUSH, ["queue", "sent", KEY, BATCHES], [number, "d", -1, -1, 2, "x", "", "message"]),
        (CLOSE, [KEY, BATCHES], [number]),
        (CANCEL_SOME, [KEY, BATCHES, "cancelled", "job"], [TTL_S, BATCH, number, "document"]),
        (CANCEL_SOME, [KEY, BATCHES, "cancelled", "job"], [number, BATCH, 0, "document"]),
    ]
    for script, keys, arguments in calls:
        with suppress(redis.ResponseError):
            script.run(server, keys, arguments)
    assert server.info("memory")["used_memory"] < 100_000_000
    for part in PARTS[1:]:
        assert server.strlen(KEY + part) < 1000, part
