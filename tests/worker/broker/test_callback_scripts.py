"""How the scripts of workers publish the callbacks of jobs, on a real Redis: with the first end of
a job, in the step that stores it, and at no other time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import pytest
import redis

from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.lua import load_script
from tests.support.batch.scripts import BATCHES, KEY, TTL_S, close, counts, open_batch, push
from tests.support.redis_state import contents, full_memory, limited_user

pytestmark = pytest.mark.redis

STORE: Final = load_script("sentq_worker.broker", "store_results")
STORE_AND_DEAD_LETTER: Final = load_script("sentq_worker.broker", "store_result_and_dead_letter")
RETRY: Final = load_script("sentq.wire", "requeue_one_result")

DONE: Final = '{"status":"SUCCESS","result":1}'
FAILED: Final = '{"status":"FAILURE","result":1}'
REVOKED: Final = '{"status":"REVOKED","result":{"exc_message":["revoked"]}}'


def _store(
    server: redis.Redis,
    documents: Mapping[str, str],
    callbacks: Sequence[tuple[int, str, str]],
    places: Sequence[tuple[int, int, int]] = (),
    *,
    mode: int = 1,
    is_full: bool = False,
) -> Any:
    """Store documents, and acknowledge a message of each.

    Args:
        server: Redis.
        documents: The documents, by their keys.
        callbacks: The number of a document, the list, and the message, of each.
        places: The number of a document, that of the batch, and the place, of each.
        mode: As the script has it.
        is_full: Whether Redis is at its `maxmemory`.
    """
    tags = [f"tag of {name}" for name in documents]
    for tag in tags:
        server.hset("unacked", tag, "a message that is longer than what is stored " * 20)
        server.zadd("unacked_index", {tag: 1})
    keys = [*documents, "unacked", "unacked_index", *([KEY, BATCHES] if places else [])]
    queues: dict[str, list[Any]] = {}
    for number, queue, message in callbacks:
        queues.setdefault(queue, []).extend((number, message))
    arguments = [
        *(len(documents), TTL_S, mode, len(tags), *documents.values(), *tags),
        *(len(queues), 1 if places else 0),
        *(each for queue, of in queues.items() for each in (queue, len(of) // 2, *of)),
        *(each for place in places for each in place),
    ]
    with full_memory(server) if is_full else nullcontext():
        return STORE.run(server, keys, arguments)


def _published(server: redis.Redis, queue: str = "shop") -> Any:
    return server.lrange(queue, 0, -1)


@pytest.mark.parametrize("document", [DONE, FAILED])
@pytest.mark.parametrize("before", [None, QUEUED_DOCUMENT, b'{"status":"STARTED"}'])
def test_a_callback_is_published_with_the_first_end_of_its_job(
    server: redis.Redis, document: str, before: bytes | None
) -> None:
    if before:
        server.set("job", before)
    for _ in range(3):
        assert _store(server, {"job": document}, [(1, "shop", "message")]) == 1
        assert _published(server) == [b"message"]
    assert not server.exists("unacked", "unacked_index")


@pytest.mark.parametrize("before", [DONE, FAILED, REVOKED, "foreign"])
def test_nothing_is_published_for_a_job_that_has_ended(server: redis.Redis, before: str) -> None:
    server.set("job", before)
    assert _store(server, {"job": DONE}, [(1, "shop", "message")]) == 1
    assert server.get("job") == before.encode()
    assert not server.exists("shop")


def test_a_retried_dead_letter_publishes_its_callback_with_its_new_end(server: redis.Redis) -> None:
    _store(server, {"job": FAILED}, [(1, "shop", "failed")])
    assert RETRY.run(server, ["job"], [QUEUED_DOCUMENT, TTL_S]) == 1
    _store(server, {"job": DONE}, [(1, "shop", "done")])
    assert _published(server) == [b"done", b"failed"]


def test_jobs_with_and_without_callbacks_and_batches_are_stored_together(
    server: redis.Redis,
) -> None:
    open_batch(server)
    push(server, 2)
    documents = {"a": DONE, "b": DONE, "c": FAILED, "d": DONE}
    server.set("c", REVOKED)
    callbacks = [(2, "shop", "of b"), (3, "shop", "of c"), (4, "other", "of d")]
    assert _store(server, documents, callbacks, [(1, 1, 0), (4, 1, 1)]) == 4
    assert _published(server) == [b"of b"]
    assert _published(server, "other") == [b"of d"]
    assert counts(server) == {"total": 2, "done": 2}


def test_a_queue_that_is_no_list_keeps_no_outcome_from_being_stored(server: redis.Redis) -> None:
    server.set("shop", "no list")
    documents = {"a": DONE, "b": DONE}
    callbacks = [(1, "shop", "of a"), (2, "other", "of b")]
    assert _store(server, documents, callbacks) == [0, 1]
    assert (server.get("a"), server.get("b")) == (DONE.encode(), DONE.encode())
    assert _published(server, "other") == [b"of b"]


def test_a_queue_into_which_a_worker_may_not_write_keeps_no_outcome_from_being_stored(
    server: redis.Redis,
) -> None:
    with limited_user(server, "~job", "~unacked*", "&*", "+@all") as limited:
        assert _store(limited, {"job": DONE}, [(1, "shop", "message")]) == [0, 1]
    assert server.get("job") == DONE.encode()
    assert not server.exists("shop", "unacked")


def test_a_refused_document_publishes_nothing(server: redis.Redis) -> None:
    large = DONE[:-1] + ',"more":"' + "x" * 2000 + '"}'
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        _store(server, {"job": large}, [(1, "shop", "message")], is_full=True)
    assert not server.exists("shop", "job")


def test_a_callback_counts_as_what_it_takes_beyond_maxmemory(server: redis.Redis) -> None:
    assert _store(server, {"job": DONE}, [(1, "shop", "message")], is_full=True) == 1
    large = [(1, "shop", "x" * 3000)]
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        _store(server, {"large": DONE}, large, is_full=True)
    assert _store(server, {"large": DONE}, large, mode=2, is_full=True) == 1
    assert server.llen("shop") == 2


# --- store_result_and_dead_letter ----------------------------------------------------------


def _store_and_dead_letter(server: redis.Redis, *, queue: str = "shop", place: int = -1) -> Any:
    batch = [] if place < 0 else [KEY, BATCHES]
    return STORE_AND_DEAD_LETTER.run(
        server,
        ["unacked", "unacked_index", "dead", "job", *batch],
        [
            *(FAILED, TTL_S, "tag", "", TTL_S, 100_000, "" if place < 0 else place),
            *(queue, "message", "code", "worker_lost"),
        ],
    )


def test_the_callback_of_a_dead_lettered_job_is_published_once(server: redis.Redis) -> None:
    server.hset("unacked", "tag", "entry")
    assert _store_and_dead_letter(server) == 1
    before = contents(server)
    assert _store_and_dead_letter(server) == 0
    assert contents(server) == before
    assert _published(server) == [b"message"]


def test_a_dead_lettered_job_whose_outcome_is_stored_publishes_nothing(server: redis.Redis) -> None:
    server.hset("unacked", "tag", "entry")
    server.set("job", DONE)
    assert _store_and_dead_letter(server) == 1
    assert not server.exists("shop")


def test_a_dead_lettered_job_tells_what_is_left_to_do(server: redis.Redis) -> None:
    open_batch(server, callback="{}")
    push(server, 1)
    close(server)
    server.hset("unacked", "tag", "entry")
    server.set("shop", "no list")
    assert _store_and_dead_letter(server, place=0) == [1, 1]
    assert server.get("job") == FAILED.encode()
