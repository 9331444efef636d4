"""The broker's Lua scripts, each on a real Redis: the normal case, nothing to do, refusals, and
repetition where the header of the script says that it is harmless."""

from __future__ import annotations

import json
import time
from typing import Any, Final, cast

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from sentq.wire.lua import load_script
from tests.support.batch.scripts import BATCH, counts, open_batch, push
from tests.support.redis_state import contents, full_memory

TAKE: Final = load_script("sentq_worker.broker", "take_messages")
LOOK: Final = load_script("sentq_worker.broker", "look_for_messages")
REQUEUE: Final = load_script("sentq_worker.broker", "requeue_messages")
REWRITE: Final = load_script("sentq_worker.broker", "rewrite_entry")
RENEW_AND_FIND: Final = load_script("sentq_worker.broker", "renew_and_find_expired")
STORE: Final = load_script("sentq_worker.broker", "store_results")
DEAD_LETTER: Final = load_script("sentq_worker.broker", "dead_letter_one")
REFUSES_WRITES: Final = load_script("sentq_worker.broker", "refuses_writes")
RUN_COMMANDS: Final = load_script("sentq_worker.broker", "run_commands")
TRIM: Final = load_script("sentq_worker.broker", "trim_dead_letters")
STORE_AND_DEAD_LETTER: Final = load_script("sentq_worker.broker", "store_result_and_dead_letter")

UNACKED: Final = ("unacked", "unacked_index")
TTL_S: Final = 60
MAX_BYTES: Final = 1_000_000
MAX_DEAD_BYTES: Final = 400_000
STARTED: Final = b'{"status":"STARTED"}'
DONE: Final = b'{"status":"SUCCESS","result":1}'
OTHER: Final = b'{"status":"SUCCESS","result":2}'
LONG_AGO_S: Final = 1.0


def _record(server: redis.Redis, tag: str, at_s: float | None = None, entry: str = "e") -> None:
    """Record a message as unacknowledged; its lease was renewed now, or at the given time."""
    server.hset("unacked", tag, entry)
    server.zadd("unacked_index", {tag: time.time() if at_s is None else at_s})


def _tags(server: redis.Redis) -> set[str]:
    """The tags that are recorded; both structures must agree."""
    tags = cast("list[bytes]", server.hkeys("unacked"))
    assert sorted(tags) == sorted(cast("list[bytes]", server.zrange("unacked_index", 0, -1)))
    return {tag.decode() for tag in tags}


# --- take_messages -------------------------------------------------------------------------


def _take(
    server: redis.Redis, *, prefix: str = "t-", limit: int = 100, limit_bytes: int = 1_000_000
) -> list[Any]:
    """Take messages of up to 2,000 bytes; return those of each list."""
    taken, refused = _take_or_refuse(server, prefix, limit, limit_bytes) or ([], [])
    assert refused == []
    return cast("list[Any]", taken)


def _take_or_refuse(
    server: redis.Redis,
    prefix: str = "t-",
    limit: int = 100,
    limit_bytes: int = 1_000_000,
    batch_ttl_s: int | str = "",
) -> list[Any]:
    limits = [limit, limit_bytes, 2_000]
    reply: list[Any] = TAKE.run(
        server,
        [*UNACKED, "dead", "list", "low"],
        [prefix, *limits, TTL_S, MAX_DEAD_BYTES, "me@host", batch_ttl_s, "queue", "café/"],
    )
    return reply


def test_messages_are_taken_in_order_and_recorded(server: redis.Redis) -> None:
    server.lpush("list", '{"n":1}', '{"n":2}')
    server.lpush("low", '{"n":3}')
    assert _take(server) == [[b'{"n":1}', b'{"n":2}'], [b'{"n":3}']]
    assert _tags(server) == {"t-0", "t-1", "t-2"}
    entries = cast("dict[bytes, bytes]", server.hgetall("unacked"))
    assert json.loads(entries[b"t-0"]) == [{"n": 1}, "", "queue"]
    assert json.loads(entries[b"t-2"]) == [{"n": 3}, "", "café/"]
    assert abs(cast("float", server.zscore("unacked_index", "t-0")) - time.time()) < 60
    assert server.exists("list", "low") == 0


def test_nothing_is_taken_from_empty_lists(server: redis.Redis) -> None:
    assert _take(server) == []
    assert contents(server) == {}


def test_no_more_messages_are_taken_than_asked_for(server: redis.Redis) -> None:
    server.lpush("list", *range(300))
    (taken, low) = _take(server, limit=150)
    assert (taken, low) == ([b"%d" % n for n in range(150)], [])
    assert server.lindex("list", -1) == b"150"
    assert len(_tags(server)) == 150


def test_taking_stops_at_the_limit_of_bytes_but_takes_one_message(server: redis.Redis) -> None:
    server.lpush("list", b"1" * 100, b"2" * 100, b"3" * 100)
    assert [len(messages) for messages in _take(server, limit_bytes=10)] == [1, 0]
    assert [len(messages) for messages in _take(server, prefix="u-", limit_bytes=150)] == [2, 0]


def test_a_message_that_is_too_large_becomes_a_short_dead_letter(server: redis.Redis) -> None:
    large = b"x" * 5_000 + b'"properties": {"correlation_id": "the-id", "priority": 0}}'
    server.lpush("list", "1", large, "3", b"y" * 2_001)
    taken, refused = _take_or_refuse(server)
    assert taken == [[b"1", b"3"], []]
    assert refused == [[b"queue", len(large), b"the-id", b""], [b"queue", 2_001, b"", b""]]
    assert _tags(server) == {"t-0", "t-1"}
    assert server.exists("list") == 0
    (_, first), (_, second) = cast("Any", server.xrange("dead"))
    assert (first[b"job_id"], first[b"size_bytes"]) == (b"the-id", b"%d" % len(large))
    assert (first[b"code"], first[b"queue"], first[b"worker"]) == (
        *(b"malformed", b"queue"),
        b"me@host",
    )
    assert first[b"reason"] == b"the message is too large: 5058 bytes; the limit is 2000"
    assert first[b"message"].endswith(b'"priority": 0}}')
    assert len(first[b"message"]) < 5_000
    assert b"job_id" not in second


@pytest.mark.parametrize("batch_ttl_s", ["", TTL_S])
def test_a_message_that_is_too_large_is_counted_in_its_batch(
    server: redis.Redis, batch_ttl_s: int | str
) -> None:
    open_batch(server)
    push(server, 3)
    header = f'"headers": {{"sentq_batch": "{BATCH}:2"}}'
    large = "x" * 5_000 + header + ', "properties": {"correlation_id": "id"}}'
    server.lpush("list", large)
    _, refused = _take_or_refuse(server, batch_ttl_s=batch_ttl_s)
    assert refused == [[b"queue", len(large), b"id", f"{BATCH}:2".encode()]]
    assert counts(server) == {"total": 3} | ({"failed": 1} if batch_ttl_s else {})


@pytest.mark.slow
def test_large_messages_do_not_exceed_the_cap_of_dead_letters(server: redis.Redis) -> None:
    for _ in range(40):
        server.lpush("list", *[b"x" * 3_000] * 16)
        assert len(_take_or_refuse(server)[1]) == 16
    used_bytes = cast("int", server.memory_usage("dead", samples=0))
    # The stream is measured with one of 32 entries; Redis allocates more than each has.
    assert used_bytes <= MAX_DEAD_BYTES + 32 * 5_000
    assert server.xlen("dead") > 32


def test_many_large_messages_are_refused_in_several_steps(server: redis.Redis) -> None:
    server.lpush("list", *[b"x" * 3_000] * 20, "m")
    assert [len(_take_or_refuse(server)[1]) for _ in range(2)] == [16, 4]
    assert server.xlen("dead") == 20
    assert _tags(server) == {"t-0"}


def test_messages_are_taken_when_memory_is_full(server: redis.Redis) -> None:
    server.lpush("list", *range(200), b"x" * 3_000)
    with full_memory(server):
        (taken, low), refused = _take_or_refuse(server, limit=500)
    assert ([int(message) for message in taken], low) == (list(range(200)), [])
    assert len(_tags(server)) == 200
    assert (server.exists("list"), len(refused), server.xlen("dead")) == (0, 1, 1)


def test_full_memory_is_told_when_there_is_no_message(server: redis.Redis) -> None:
    with full_memory(server):
        assert cast("Any", _take_or_refuse(server)) == 0
    assert _take_or_refuse(server) == []
    assert contents(server) == {}


def test_a_queue_that_is_no_list_is_an_error_and_nothing_moves(server: redis.Redis) -> None:
    server.set("list", "text")
    server.lpush("low", "m")
    before = contents(server)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        _take(server)
    assert contents(server) == before


# --- look_for_messages ---------------------------------------------------------------------


def _look(server: redis.Redis) -> list[int]:
    keys = ["sentq.scheduled", "sentq.batches", "list", "low"]
    reply: list[int] = LOOK.run(server, keys)
    return reply


def test_a_look_at_nothing_finds_nothing(server: redis.Redis) -> None:
    assert _look(server) == [0, -1, 0]
    assert contents(server) == {}


def test_a_look_finds_messages_jobs_and_callbacks_and_changes_nothing(server: redis.Redis) -> None:
    server.lpush("low", "m")
    server.zadd("sentq.batches", {"a": 1, "b": 2})
    server.zadd("sentq.scheduled", {"due": 1, "later": time.time() * 1000 + 60_000})
    before = contents(server)
    assert _look(server) == [1, 0, 2]
    assert contents(server) == before
    server.zrem("sentq.scheduled", "due")
    assert 50_000 < _look(server)[1] <= 60_000


def test_a_list_that_is_none_counts_as_one_with_a_message(server: redis.Redis) -> None:
    server.set("list", "text")
    server.set("sentq.scheduled", "text")
    server.set("sentq.batches", "text")
    assert _look(server) == [1, -1, 0]


# --- requeue_messages ----------------------------------------------------------------------


def test_messages_are_requeued_at_the_end_from_which_they_are_taken(server: redis.Redis) -> None:
    server.lpush("list", "waiting")
    for tag in ("a", "b"):
        _record(server, tag)
    command = (
        [*UNACKED, "list", "b's", "list", "a's"],
        ["", 60, "b", "second", "2", "a", "first", ""],
    )
    assert REQUEUE.run(server, *command) == 2
    assert server.lrange("list", 0, -1) == [b"waiting", b"second", b"first"]
    assert _tags(server) == set()
    assert (server.get("b's"), server.exists("a's")) == (b"2", 0)
    assert 0 < server.ttl("b's") <= 60
    server.delete("b's")
    assert REQUEUE.run(server, *command) == 0, "a repetition does nothing"
    assert not server.exists("b's")
    assert server.llen("list") == 3


def test_a_message_that_is_no_longer_recorded_is_not_requeued(server: redis.Redis) -> None:
    server.zadd("unacked_index", {"a": LONG_AGO_S})
    assert REQUEUE.run(server, [*UNACKED, "list", "count"], ["", 60, "a", "m", "1"]) == 0
    assert contents(server) == {}


def test_only_messages_with_expired_leases_are_requeued(server: redis.Redis) -> None:
    _record(server, "renewed")
    _record(server, "expired", LONG_AGO_S)
    keys = [*UNACKED, *["list", "count"] * 3]
    arguments = [30, 60, "renewed", "1", "", "expired", "2", "", "unknown", "3", ""]
    assert REQUEUE.run(server, keys, arguments) == 1
    assert server.lrange("list", 0, -1) == [b"2"]
    assert _tags(server) == {"renewed"}


def test_messages_are_requeued_when_memory_is_full(server: redis.Redis) -> None:
    _record(server, "a")
    with full_memory(server):
        assert REQUEUE.run(server, [*UNACKED, "list", "count"], ["", 60, "a", "m", "1"]) == 1
    assert server.lrange("list", 0, -1) == [b"m"]


# --- rewrite_entry -------------------------------------------------------------------------


def test_an_entry_is_rewritten_also_when_memory_is_full(server: redis.Redis) -> None:
    _record(server, "a")
    with full_memory(server):
        for _ in range(2):
            assert REWRITE.run(server, UNACKED, ["a", "new" * 100]) == 1
    assert server.hget("unacked", "a") == b"new" * 100
    assert _tags(server) == {"a"}


def test_an_entry_that_is_gone_is_not_written(server: redis.Redis) -> None:
    assert REWRITE.run(server, UNACKED, ["a", "new"]) == 0
    assert contents(server) == {}


# --- renew_and_find_expired ----------------------------------------------------------------

ENDING: Final = '"queue"]'


def _renew_and_find(
    server: redis.Redis, *tags: str, limit: int = 10, skip: int = 0, limit_bytes: int = 1000
) -> tuple[float, list[bytes], int, list[bytes]]:
    redis_s, gone, looked_at, found = RENEW_AND_FIND.run(
        server, UNACKED, [30, limit, skip, limit_bytes, 2, ENDING, '"other"]', *tags]
    )
    return float(redis_s), gone, looked_at, found


def test_leases_are_renewed_and_missing_tags_named(server: redis.Redis) -> None:
    _record(server, "a", LONG_AGO_S, f"[{ENDING}")
    redis_s, gone, looked_at, found = _renew_and_find(server, "a", "missing")
    assert (gone, looked_at, found) == ([b"missing"], 0, [])
    assert server.zscore("unacked_index", "a") == pytest.approx(redis_s, abs=0.001)
    assert _tags(server) == {"a"}, "a missing tag is not added"


def test_thousands_of_leases_are_renewed(server: redis.Redis) -> None:
    tags = [f"t{n}" for n in range(2500)]
    server.zadd("unacked_index", dict.fromkeys(tags[1:], LONG_AGO_S))
    redis_s, gone, *_ = _renew_and_find(server, *tags, limit=0)
    assert gone == [b"t0"]
    lowest = cast("list[Any]", server.zrange("unacked_index", 0, 0, withscores=True))
    assert lowest[0][1] == pytest.approx(redis_s, abs=0.001)


def test_expired_entries_of_the_own_queues_are_found(server: redis.Redis) -> None:
    _record(server, "a", 1, f"[1, {ENDING}")
    _record(server, "b", 2, '[2, "foreign"]')
    _record(server, "c", 3, f"[3, {ENDING}")
    _record(server, "renewed", None, f"[4, {ENDING}")
    before = contents(server)
    _, gone, looked_at, found = _renew_and_find(server)
    assert (gone, looked_at) == ([], 3)
    assert found == [b"a", b'[1, "queue"]', b"c", b'[3, "queue"]']
    assert contents(server) == before, "finding changes nothing"


def test_expired_entries_are_found_in_parts(server: redis.Redis) -> None:
    for n in range(1, 5):
        _record(server, f"t{n}", n, f"[{n}, {ENDING}")
    assert _renew_and_find(server, limit=0)[2:] == (0, [])
    assert _renew_and_find(server, limit=2)[2:] == (
        2,
        [b"t1", b'[1, "queue"]', b"t2", b'[2, "queue"]'],
    )
    assert _renew_and_find(server, limit=2, skip=3)[2:] == (1, [b"t4", b'[4, "queue"]'])
    assert _renew_and_find(server, limit_bytes=5)[2:] == (1, [b"t1", b'[1, "queue"]'])


def test_an_index_entry_without_a_message_is_removed(server: redis.Redis) -> None:
    server.zadd("unacked_index", {"a": LONG_AGO_S})
    assert _renew_and_find(server)[2:] == (1, [])
    assert contents(server) == {}


def test_leases_are_renewed_when_memory_is_full(server: redis.Redis) -> None:
    _record(server, "a", LONG_AGO_S)
    with full_memory(server):
        redis_s, *_ = _renew_and_find(server, "a")
    assert server.zscore("unacked_index", "a") == pytest.approx(redis_s, abs=0.001)


# --- store_results -------------------------------------------------------------------------


SILENTLY: Final = 0
NOTIFYING: Final = 1
BEYOND_MAXMEMORY: Final = 2


def _store(
    server: redis.Redis, documents: dict[str, bytes], *tags: str, mode: int = NOTIFYING
) -> Any:
    keys = [*documents, *(UNACKED if tags else ())]
    arguments = [len(documents), TTL_S, mode, len(tags), *documents.values(), *tags]
    return STORE.run(server, keys, arguments)


@pytest.mark.parametrize("before", [None, b'{"status": "PENDING"}', STARTED, b'{"status":"RETRY"}'])
def test_the_document_of_an_unfinished_job_is_replaced(
    server: redis.Redis, before: bytes | None
) -> None:
    if before is not None:
        server.set("job", before)
    assert _store(server, {"job": DONE}) == 1
    assert server.get("job") == DONE
    assert 0 < server.ttl("job") <= TTL_S


@pytest.mark.parametrize("before", [DONE, b'{"status":"FAILURE"}', b"\x78\x9c foreign", b""])
def test_a_final_or_foreign_document_stays_and_expires(server: redis.Redis, before: bytes) -> None:
    server.set("job", before)
    assert _store(server, {"job": OTHER}) == 1
    assert server.get("job") == before
    assert 0 < server.ttl("job") <= TTL_S


def test_a_stored_document_is_published_once_where_asked_for(server: redis.Redis) -> None:
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("job")
        listener.get_message(timeout=1)
        _store(server, {"job": STARTED}, mode=SILENTLY)
        for _ in range(2):
            _store(server, {"job": DONE})
        published = [listener.get_message(timeout=0.5) for _ in range(3)]
    assert [message["data"] for message in published if message] == [DONE]


def test_results_are_stored_and_messages_acknowledged_in_one_step(server: redis.Redis) -> None:
    tags = [f"t{n}" for n in range(2500)]
    server.hset("unacked", mapping=dict.fromkeys([*tags, "kept"], "e"))
    server.zadd("unacked_index", dict.fromkeys([*tags, "kept"], 1))
    for _ in range(2):
        assert _store(server, {"a": DONE, "b": OTHER}, *tags) == 2
        assert (server.get("a"), server.get("b")) == (DONE, OTHER)
        assert _tags(server) == {"kept"}


def test_messages_are_acknowledged_without_results(server: redis.Redis) -> None:
    _record(server, "a")
    assert _store(server, {}, "a") == 0
    assert _tags(server) == set()


def test_a_key_of_another_type_stays_and_does_not_stop_the_others(server: redis.Redis) -> None:
    server.lpush("a", "x")
    _record(server, "t")
    assert _store(server, {"a": DONE, "b": OTHER}, "t") == 2
    assert (server.lrange("a", 0, -1), server.get("b")) == ([b"x"], OTHER)
    assert _tags(server) == set()


def test_results_no_larger_than_their_messages_are_stored_when_memory_is_full(
    server: redis.Redis,
) -> None:
    _record(server, "s", entry="m" * 100)
    _record(server, "t", entry="m" * 400)
    with full_memory(server), server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("b")
        listener.get_message(timeout=1)
        assert _store(server, {"a": DONE, "b": OTHER}, "s", "t") == 2
        message = listener.get_message(timeout=1)
    assert message is not None
    assert message["data"] == OTHER
    assert (server.get("a"), server.get("b")) == (DONE, OTHER)
    assert 0 < server.ttl("a") <= TTL_S
    assert _tags(server) == set()


@pytest.mark.parametrize(
    ("mode", "tags"), [(NOTIFYING, ["t"]), (NOTIFYING, []), (SILENTLY, ["large"])]
)
def test_nothing_is_stored_or_acknowledged_when_memory_is_full(
    server: redis.Redis, mode: int, tags: list[str]
) -> None:
    server.set("a", STARTED)
    _record(server, "t", entry="m" * 400)
    _record(server, "large", entry="m" * 4000)
    before = contents(server)
    with full_memory(server), pytest.raises(OutOfMemoryError):
        _store(server, {"a": DONE, "b": OTHER}, *tags, mode=mode)
    assert contents(server) == before


def test_results_are_stored_beyond_maxmemory_where_asked_for(server: redis.Redis) -> None:
    _record(server, "t")
    with full_memory(server):
        assert _store(server, {"a": DONE, "b": OTHER}, "t", mode=BEYOND_MAXMEMORY) == 2
        assert _store(server, {"a": OTHER}, mode=BEYOND_MAXMEMORY) == 1, "without a message"
    assert (server.get("a"), server.get("b")) == (DONE, OTHER)
    assert _tags(server) == set()


# --- refuses_writes, run_commands ----------------------------------------------------------


def test_whether_redis_refuses_writes_is_found_without_a_write(server: redis.Redis) -> None:
    assert REFUSES_WRITES.run(server, ["unacked_index"], [""]) == 0
    with full_memory(server):
        assert REFUSES_WRITES.run(server, ["unacked_index"], [""]) == 1
    server.set("text", "x")
    assert REFUSES_WRITES.run(server, ["text"], [""]) == 0, "another error"
    server.delete("text")
    assert contents(server) == {}


@pytest.mark.parametrize("is_list", [True, False])
def test_commands_are_run_when_memory_is_full(server: redis.Redis, *, is_list: bool) -> None:
    if is_list:
        server.lpush("a", "before")
    with full_memory(server):
        words = [3, "LPUSH", "a", b"\xff", 2, "LLEN", "a", 2, "GET", "none"]
        length = 1 + is_list
        assert RUN_COMMANDS.run(server, ["a"], words) == [length, length, None]
    assert server.lindex("a", 0) == b"\xff"


def test_an_error_of_a_command_ends_the_script(server: redis.Redis) -> None:
    words = [3, "SET", "a", "1", 2, "LLEN", "a", 3, "SET", "b", "1"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        RUN_COMMANDS.run(server, ["a"], words)
    assert server.exists("b") == 0


# --- dead_letter_one, store_result_and_dead_letter -----------------------------------------

FIELDS: Final = ("code", "worker_lost", "message", b"raw \xff")


def _dead_letter(server: redis.Redis, timeout_s: float | str = "") -> Any:
    return DEAD_LETTER.run(server, [*UNACKED, "dead"], ["a", timeout_s, TTL_S, MAX_BYTES, *FIELDS])


def _store_and_dead_letter(server: redis.Redis, timeout_s: float | str = "") -> Any:
    return STORE_AND_DEAD_LETTER.run(
        server,
        [*UNACKED, "dead", "job"],
        [DONE, TTL_S, "a", timeout_s, TTL_S, MAX_BYTES, "", "", "", *FIELDS],
    )


BOTH: Final = pytest.mark.parametrize("move", [_dead_letter, _store_and_dead_letter])


@BOTH
@pytest.mark.parametrize("timeout_s", ["", 30])
def test_a_message_is_dead_lettered_once(
    server: redis.Redis, move: Any, timeout_s: float | str
) -> None:
    _record(server, "a", LONG_AGO_S)
    assert move(server, timeout_s) == 1
    assert _tags(server) == set()
    ((_, fields),) = cast("list[Any]", server.xrange("dead"))
    assert fields == {b"code": b"worker_lost", b"message": b"raw \xff"}
    before = contents(server)
    assert move(server, timeout_s) == 0
    assert contents(server) == before


@BOTH
def test_a_message_with_a_renewed_lease_is_not_dead_lettered(
    server: redis.Redis, move: Any
) -> None:
    _record(server, "a")
    before = contents(server)
    assert move(server, 30) == 0
    assert contents(server) == before


@BOTH
def test_a_message_that_is_not_recorded_is_not_dead_lettered(
    server: redis.Redis, move: Any
) -> None:
    assert move(server) == 0
    assert contents(server) == {}


@BOTH
def test_a_message_is_dead_lettered_when_memory_is_full(server: redis.Redis, move: Any) -> None:
    _record(server, "a")
    with full_memory(server):
        assert move(server) == 1
    assert (_tags(server), server.xlen("dead")) == (set(), 1)


def test_the_result_of_a_dead_lettered_job_is_stored_unless_it_has_one(
    server: redis.Redis,
) -> None:
    for before, after in ((STARTED, DONE), (OTHER, OTHER)):
        _record(server, "a")
        server.set("job", before)
        assert _store_and_dead_letter(server) == 1
        assert server.get("job") == after


def test_the_result_is_stored_with_the_dead_letter_when_memory_is_full(
    server: redis.Redis,
) -> None:
    _record(server, "a")
    with full_memory(server):
        assert _store_and_dead_letter(server) == 1
    assert server.get("job") == DONE


# --- trim_dead_letters ---------------------------------------------------------------------


def test_the_oldest_dead_letters_above_the_cap_are_removed(server: redis.Redis) -> None:
    for number in range(50):
        server.xadd("dead", {"number": number, "message": "x" * 1000})
    assert TRIM.run(server, ["dead"], [TTL_S, MAX_BYTES]) == 0
    removed = TRIM.run(server, ["dead"], [TTL_S, 40_000])
    assert 5 < removed < 40
    ((_, first),) = cast("list[Any]", server.xrange("dead", count=1))
    assert int(first[b"number"]) == removed
    assert TRIM.run(server, ["dead"], [TTL_S, 40_000]) == 0
    assert TRIM.run(server, ["none"], [TTL_S, MAX_BYTES]) == 0
