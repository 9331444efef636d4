"""How the scripts of workers count jobs in batches, on a real Redis: each job once, on each path
that ends one, with repetitions and forged keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import pytest
import redis

from sentq.wire.batches import batch_key
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.ids import new_job_ids
from sentq.wire.lua import load_script
from tests.support.batch.scripts import (
    BATCHES,
    KEY,
    TTL_S,
    close,
    counts,
    end_order,
    open_batch,
    push,
)
from tests.support.redis_state import contents, full_memory, limited_user

pytestmark = pytest.mark.redis

STORE: Final = load_script("sentq_worker.broker", "store_results")
STORE_AND_DEAD_LETTER: Final = load_script("sentq_worker.broker", "store_result_and_dead_letter")
PUBLISH: Final = load_script("sentq_worker.broker", "publish_callback")
RETRY: Final = load_script("sentq.wire", "requeue_one_result")

DONE: Final = '{"status":"SUCCESS","result":1}'
FAILED: Final = '{"status":"FAILURE","result":1}'
REVOKED: Final = '{"status":"REVOKED","result":{"exc_message":["revoked"]}}'
EXPIRED: Final = '{"status":"REVOKED","result":{"exc_message":["expired"]}}'
OTHER: Final = batch_key("0192f0c1-7d3c-7aaa-8bbb-ffffffffffff")


def _store(
    server: redis.Redis,
    documents: Mapping[str, str],
    places: Sequence[tuple[int, int, int]] = (),
    *,
    batches: Sequence[str] = (KEY,),
    is_full: bool = False,
) -> Any:
    """Store documents; places are the number of a document, of a batch, and the place."""
    tags = [f"tag of {name}" for name in documents]
    for tag in tags:
        server.hset("unacked", tag, "entry")
        server.zadd("unacked_index", {tag: 1})
    keys = [*documents, "unacked", "unacked_index", *([*batches, BATCHES] if places else [])]
    numbers = [0, len(batches), *(number for each in places for number in each)] if places else []
    mode = 2 if is_full else 1
    arguments = [len(documents), TTL_S, mode, len(tags), *documents.values(), *tags, *numbers]
    with full_memory(server) if is_full else nullcontext():
        reply = STORE.run(server, keys, arguments)
    assert not server.exists("unacked", "unacked_index")
    return reply


def _one(server: redis.Redis, document: str, place: int = 0, name: str = "job") -> Any:
    return _store(server, {name: document}, [(1, 1, place)])


@pytest.fixture
def batch(server: redis.Redis) -> list[str]:
    """An open batch of five jobs; return their ids."""
    open_batch(server, callback="{}")
    ids = new_job_ids(5)
    push(server, ids)
    return ids


@pytest.mark.parametrize(
    ("document", "name"),
    [(DONE, "done"), (FAILED, "failed"), (REVOKED, "cancelled"), (EXPIRED, "failed")],
)
@pytest.mark.parametrize("before", [None, QUEUED_DOCUMENT, b'{"status":"STARTED"}'])
@pytest.mark.usefixtures("batch")
def test_each_kind_of_end_is_counted_once(
    server: redis.Redis, document: str, name: str, before: bytes | None
) -> None:
    if before:
        server.set("job", before)
    assert _one(server, document, place=3) == 1
    assert counts(server) == {"total": 5, name: 1}
    assert _one(server, document, place=3) == 1
    assert counts(server) == {"total": 5, name: 1}
    assert end_order(server) == [3]


@pytest.mark.usefixtures("batch")
def test_a_second_result_does_not_change_the_count(server: redis.Redis) -> None:
    _one(server, REVOKED)
    _one(server, DONE)
    assert server.get("job") == REVOKED.encode()
    assert counts(server) == {"total": 5, "cancelled": 1}


@pytest.mark.usefixtures("batch")
def test_a_redelivery_after_the_outcome_has_expired_is_not_counted_again(
    server: redis.Redis,
) -> None:
    _one(server, DONE)
    server.delete("job")
    _one(server, DONE)
    assert counts(server) == {"total": 5, "done": 1}
    assert end_order(server) == [0]


@pytest.mark.usefixtures("batch")
def test_an_end_that_a_client_of_an_earlier_version_stored_is_counted_by_the_worker(
    server: redis.Redis,
) -> None:
    server.set("job", REVOKED)
    _one(server, DONE)
    assert counts(server) == {"total": 5, "cancelled": 1}


@pytest.mark.usefixtures("batch")
def test_a_retried_dead_letter_is_counted_under_its_new_end(server: redis.Redis) -> None:
    close(server)
    for place in range(5):
        _one(server, FAILED, place, name=f"job {place}")
    assert server.zrange(BATCHES, 0, -1) == [KEY.encode()]
    server.delete(BATCHES)
    assert RETRY.run(server, ["job 1"], [QUEUED_DOCUMENT, TTL_S]) == 1
    assert counts(server) == {"total": 5, "failed": 5, "closed": 1}
    _one(server, DONE, 1, name="job 1")
    assert counts(server) == {"total": 5, "failed": 4, "done": 1, "closed": 1}
    assert end_order(server) == [0, 1, 2, 3, 4]
    assert not server.exists(BATCHES), "the callback is not published again"


@pytest.mark.usefixtures("batch")
def test_jobs_of_several_batches_and_of_none_are_stored_together(server: redis.Redis) -> None:
    server.hset(OTHER, "total", 9)
    documents = {"a": DONE, "b": FAILED, "c": DONE, "d": DONE}
    places = [(1, 1, 0), (2, 2, 8), (4, 1, 4)]
    assert _store(server, documents, places, batches=[KEY, OTHER]) == 4
    assert counts(server) == {"total": 5, "done": 2}
    assert server.hget(OTHER, "failed") == b"1"
    assert server.get("c") == DONE.encode()


@pytest.mark.usefixtures("batch")
def test_the_last_job_completes_a_closed_batch_and_an_open_one_stays_open(
    server: redis.Redis,
) -> None:
    documents = {f"job {place}": DONE for place in range(5)}
    places = [(place + 1, 1, place) for place in range(5)]
    assert _store(server, documents, places) == 5
    assert not server.hexists(KEY, "complete_ms")
    assert close(server) == 1
    assert server.hexists(KEY, "complete_ms")
    assert server.hget(KEY, "callback_state") == b"waiting"


@pytest.mark.usefixtures("batch")
def test_the_reply_tells_that_a_callback_is_to_be_published(server: redis.Redis) -> None:
    close(server)
    for place in range(4):
        assert _one(server, DONE, place, name=f"job {place}") == 1
    assert _one(server, DONE, 4, name="job 4") == [1, 0]
    assert _one(server, DONE, 4, name="job 4") == 1
    assert server.zrange(BATCHES, 0, -1) == [KEY.encode()]


@pytest.mark.usefixtures("batch")
def test_listeners_are_told_once_for_each_step(server: redis.Redis) -> None:
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(KEY)
        _store(server, {"a": DONE, "b": DONE}, [(1, 1, 0), (2, 1, 1)])
        messages = [listener.get_message(timeout=1) for _ in range(3)]
    assert [message["data"] for message in messages if message] == [b"2"]


def test_a_batch_that_is_kept_no_longer_is_not_made_again(server: redis.Redis) -> None:
    assert _one(server, DONE) == 1
    assert server.keys("*") == [b"job"]


@pytest.mark.parametrize("place", [5, 9_999_999])
@pytest.mark.usefixtures("batch")
def test_places_that_the_batch_does_not_have_are_not_counted(
    server: redis.Redis, place: int
) -> None:
    assert _one(server, DONE, place) == 1
    assert counts(server) == {"total": 5}


@pytest.mark.usefixtures("batch")
def test_a_forged_total_does_not_make_redis_allocate(server: redis.Redis) -> None:
    server.hset(KEY, "total", "9e15")
    assert _one(server, DONE, 9_999_999) == 1
    assert not server.exists(f"{KEY}:states")


@pytest.mark.parametrize("part", ["", ":states", ":ends"])
@pytest.mark.usefixtures("batch")
def test_keys_of_another_type_do_not_keep_outcomes_from_being_stored(
    server: redis.Redis, part: str
) -> None:
    server.delete(KEY + part)
    server.lpush(KEY + part, "junk")
    server.set(BATCHES, "junk")
    server.hset(OTHER, mapping={"total": 1, "closed": 1, "done": "junk", "callback": "{}"})
    documents = {"a": DONE, "b": DONE}
    places = [(1, 1, 0), (2, 2, 0)]
    assert _store(server, documents, places, batches=[KEY, OTHER]) in (2, [1, 0])
    assert server.get("b") == DONE.encode()


@pytest.mark.usefixtures("batch")
def test_jobs_are_counted_when_memory_is_full(server: redis.Redis) -> None:
    assert _store(server, {"a": DONE}, [(1, 1, 2)], is_full=True) == 1
    assert counts(server) == {"total": 5, "done": 1}
    assert end_order(server) == [2]


@pytest.mark.usefixtures("batch")
def test_jobs_without_a_batch_touch_none(server: redis.Redis) -> None:
    before = server.dump(KEY)
    assert _store(server, {"a": DONE, "b": FAILED}) == 2
    assert server.dump(KEY) == before


# --- store_result_and_dead_letter ----------------------------------------------------------


def _store_and_dead_letter(server: redis.Redis, *, place: int) -> Any:
    return STORE_AND_DEAD_LETTER.run(
        server,
        ["unacked", "unacked_index", "dead", "job", KEY, BATCHES],
        [FAILED, TTL_S, "tag", "", TTL_S, 100_000, place, "", "", "code", "worker_lost"],
    )


@pytest.mark.usefixtures("batch")
def test_a_dead_lettered_job_is_counted_once(server: redis.Redis) -> None:
    server.hset("unacked", "tag", "entry")
    assert _store_and_dead_letter(server, place=1) == 1
    before = contents(server)
    assert _store_and_dead_letter(server, place=1) == 0
    assert contents(server) == before
    assert counts(server) == {"total": 5, "failed": 1}


def test_a_dead_lettered_job_completes_its_batch(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    push(server, 1, closes=True)
    server.hset("unacked", "tag", "entry")
    assert _store_and_dead_letter(server, place=0) == [1, 0]
    assert server.zrange(BATCHES, 0, -1) == [KEY.encode()]


# --- publish_callback ----------------------------------------------------------------------


def _publish(server: redis.Redis, *queue: str) -> Any:
    return PUBLISH.run(server, [KEY, BATCHES], [*queue, "message"] if queue else [])


@pytest.fixture
def complete(server: redis.Redis) -> None:
    """A complete batch with a callback that is not published."""
    open_batch(server, callback="{}")
    close(server)


@pytest.mark.usefixtures("complete")
def test_a_callback_is_published_once(server: redis.Redis) -> None:
    assert _publish(server, "shop") == 1
    assert _publish(server, "shop") == 0
    server.zadd(BATCHES, {KEY: 1})
    assert _publish(server, "shop") == 0, "a forged entry"
    assert server.lrange("shop", 0, -1) == [b"message"]
    assert server.hget(KEY, "callback_state") == b"sent"
    assert not server.exists(BATCHES)


@pytest.mark.usefixtures("complete")
def test_a_refused_callback_is_not_published_later(server: redis.Redis) -> None:
    assert _publish(server) == 0
    assert server.hget(KEY, "callback_state") == b"refused"
    assert _publish(server, "shop") == 0
    assert not server.exists("shop", BATCHES)


@pytest.mark.usefixtures("complete")
def test_a_queue_that_is_no_list_refuses_a_callback(server: redis.Redis) -> None:
    server.set("shop", "no list")
    assert _publish(server, "shop") == -1
    assert server.hget(KEY, "callback_state") == b"refused"
    assert not server.exists(BATCHES)


@pytest.mark.usefixtures("complete")
def test_a_queue_into_which_a_worker_may_not_write_keeps_no_other_callback_waiting(
    server: redis.Redis,
) -> None:
    with limited_user(server, "~sentq*", "+@all") as limited:
        assert _publish(limited, "shop") == -1
    assert server.hget(KEY, "callback_state") == b"refused"
    assert not server.exists("shop", BATCHES)


@pytest.mark.usefixtures("complete")
def test_a_callback_is_published_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server):
        assert _publish(server, "shop") == 1
    assert server.llen("shop") == 1


@pytest.mark.parametrize("forged", ["string", "nothing"])
def test_an_entry_without_a_batch_is_removed(server: redis.Redis, forged: str) -> None:
    if forged == "string":
        server.set(KEY, "no batch")
    server.zadd(BATCHES, {KEY: 1})
    assert _publish(server, "shop") == 0
    assert not server.exists("shop", BATCHES)
