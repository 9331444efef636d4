"""The client's Lua scripts, each on a real Redis: the normal case, nothing to do, refusals, and
repetition where the header of the script says that it is harmless."""

from __future__ import annotations

import time
from typing import Any, Final, cast

import pytest
import redis

from sentq.wire.lua import Script, load_script, resolve_includes
from tests.support.redis_state import contents, full_memory

PUSH: Final = load_script("sentq.wire", "push_jobs")
PUSH_WITH_CONDITIONS: Final = load_script("sentq.wire", "push_jobs_with_conditions")
RESERVE_KEY: Final = load_script("sentq.wire", "reserve_key")
RELEASE_KEY: Final = load_script("sentq.wire", "release_key")
ADD_TO_HISTORY: Final = load_script("sentq.wire", "add_to_history")
CANCEL: Final = load_script("sentq.wire", "cancel_job")
READ_CANCELLED: Final = load_script("sentq.wire", "read_cancelled")
REQUEUE_RESULT: Final = load_script("sentq.wire", "requeue_one_result")
RETRY: Final = load_script("sentq.wire", "retry_dead_letter")
WRITE_REPORT: Final = load_script("sentq.wire", "write_report")
READ_REPORTS: Final = load_script("sentq.wire", "read_reports")
READ_CODES: Final = load_script("sentq.wire", "read_dead_letter_codes")

QUEUED: Final = b'{"status": "PENDING"}'
CANCELLED: Final = b'{"status":"REVOKED"}'
TTL_S: Final = 60


def _list(server: redis.Redis, key: str) -> list[bytes]:
    return cast("list[bytes]", server.lrange(key, 0, -1))


# --- push_jobs -----------------------------------------------------------------------------


def test_push_makes_jobs_known_and_appends_their_messages(server: redis.Redis) -> None:
    PUSH.run(server, ["queue", "group"], [TTL_S, QUEUED, b"1", b"2"])
    PUSH.run(server, ["queue", "group"], [TTL_S, b"another document", b"3"])
    # Messages are taken from the right.
    assert _list(server, "queue") == [b"3", b"2", b"1"]
    assert server.get("group") == QUEUED, "a document that exists stays"
    assert 0 < server.ttl("group") <= TTL_S


def test_push_writes_nothing_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        PUSH.run(server, ["queue", "group"], [TTL_S, QUEUED, b"1"])
    assert contents(server) == {}


def test_push_to_a_key_that_is_no_list_is_an_error(server: redis.Redis) -> None:
    server.set("queue", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        PUSH.run(server, ["queue", "group"], [TTL_S, QUEUED, b"1"])


# --- push_jobs_with_conditions -------------------------------------------------------------


def _push_with_conditions(
    server: redis.Redis,
    *messages: bytes,
    keys: dict[str, str] | None = None,
    max_jobs: int = -1,
    max_bytes: int = -1,
    digests: str = "d1",
) -> list[Any]:
    keyed = keys or {}
    reply: list[Any] = PUSH_WITH_CONDITIONS.run(
        server,
        ["queue", "group", "queue:low", *keyed],
        [
            *(TTL_S, QUEUED, max_jobs, max_bytes, 1, len(keyed)),
            *(*keyed.values(), *[digests] * len(keyed), *messages),
        ],
    )
    return reply


def test_push_within_the_limits_sends_all_jobs(server: redis.Redis) -> None:
    assert _push_with_conditions(server, b"1", b"2", max_jobs=2, max_bytes=10_000) == [1]
    assert _list(server, "queue") == [b"2", b"1"]
    assert server.get("group") == QUEUED


def test_push_beyond_the_limit_of_jobs_sends_none_and_counts_all_lists(server: redis.Redis) -> None:
    server.lpush("queue", b"a")
    server.lpush("queue:low", b"b")
    before = contents(server)
    assert _push_with_conditions(server, b"1", b"23", max_jobs=3) == [0, 2, 0, 2, 3]
    assert contents(server) == before
    assert _push_with_conditions(server, b"1", max_jobs=3) == [1]


def test_push_beyond_the_limit_of_bytes_sends_none(server: redis.Redis) -> None:
    server.lpush("queue", b"x" * 1000)
    refused, jobs, waiting_bytes, added, added_bytes = _push_with_conditions(
        server, b"y" * 500, max_bytes=1400
    )
    assert (refused, jobs, added, added_bytes) == (0, 1, 1, 500)
    assert 1000 <= waiting_bytes < 2000
    assert _list(server, "queue") == [b"x" * 1000]


def test_push_sends_one_job_for_each_idempotency_key(server: redis.Redis) -> None:
    assert _push_with_conditions(server, b"1", b"2", keys={"k1": "id1", "k2": "id2"}) == [
        *(1, b"id1", b"id2")
    ]
    again = _push_with_conditions(server, b"3", b"4", keys={"k2": "id3", "k4": "id4"})
    assert again == [1, b"id2", b"id4"]
    assert _list(server, "queue") == [b"4", b"2", b"1"]
    assert 0 < server.ttl("k1") <= TTL_S


def test_push_with_the_same_keys_again_changes_nothing(server: redis.Redis) -> None:
    _push_with_conditions(server, b"1", keys={"k": "id1"})
    before = contents(server)
    # Nor is it refused: it adds nothing to a queue that is full.
    assert _push_with_conditions(server, b"2", keys={"k": "id2"}, max_jobs=1) == [1, b"id1"]
    assert contents(server) == before


def test_push_sends_one_job_for_a_key_that_stands_twice(server: redis.Redis) -> None:
    reply = PUSH_WITH_CONDITIONS.run(
        server,
        ["queue", "group", "k", "k"],
        [TTL_S, QUEUED, -1, -1, 0, 2, "a", "b", "d1", "d1", b"1", b"2"],
    )
    assert reply == [1, b"a", b"a"]
    assert _list(server, "queue") == [b"1"]


def test_push_sends_nothing_if_a_key_stands_twice_for_different_texts(server: redis.Redis) -> None:
    reply = PUSH_WITH_CONDITIONS.run(
        server,
        ["queue", "group", "k", "k"],
        [TTL_S, QUEUED, -1, -1, 0, 2, "a", "b", "d1", "d2", b"1", b"2"],
    )
    assert reply == [-1, 1]
    assert contents(server) == {}


@pytest.mark.parametrize("digests", ["d2", "d2 d3|d4", ""])
def test_push_refuses_another_text_under_a_key(server: redis.Redis, digests: str) -> None:
    _push_with_conditions(server, b"1", keys={"k": "id1"}, digests="d0 d1")
    before = contents(server)
    keys = {"free": "id2", "k": "id3"}
    assert _push_with_conditions(server, b"2", b"3", keys=keys, digests=digests) == [-1, 1]
    assert contents(server) == before


@pytest.mark.parametrize("digests", ["d1", "d2 d1", "d2|d1"])
def test_push_knows_the_text_of_a_key_by_any_common_digest(
    server: redis.Redis, digests: str
) -> None:
    _push_with_conditions(server, b"1", keys={"k": "id1"}, digests="d0 d1|d9")
    assert server.get("k") == b"id1 d0 d1", "only those before the | are recorded"
    assert _push_with_conditions(server, b"2", keys={"k": "id2"}, digests=digests) == [1, b"id1"]


def test_push_accepts_the_record_of_an_older_client(server: redis.Redis) -> None:
    server.set("k", "id1")
    assert _push_with_conditions(server, b"2", keys={"k": "id2"}) == [1, b"id1"]


def test_push_waits_for_a_job_that_is_being_sent(server: redis.Redis) -> None:
    RESERVE_KEY.run(server, ["k"], ["id1", "d1", 10])
    before = contents(server)
    assert _push_with_conditions(server, b"2", keys={"k": "id2"}) == [-2]
    assert contents(server) == before


def test_push_with_conditions_writes_nothing_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        _push_with_conditions(server, b"1", keys={"k": "id"}, max_jobs=5)
    assert contents(server) == {}


# --- reserve_key, release_key --------------------------------------------------------------


def test_a_key_is_reserved_for_one_job(server: redis.Redis) -> None:
    assert RESERVE_KEY.run(server, ["key"], ["job", "d1", 10]) == [b"reserved"]
    assert RESERVE_KEY.run(server, ["key"], ["job", "d1", 20]) == [b"reserved"], "it renews its own"
    assert 10 < server.ttl("key") <= 20
    assert RESERVE_KEY.run(server, ["key"], ["other", "d1", 10]) == [b"sending"]
    for record in ("job", "job d1"):
        server.set("key", record)
        assert RESERVE_KEY.run(server, ["key"], ["other", "d0 d1", 10]) == [b"sent", b"job"]


def test_no_key_is_reserved_for_other_texts(server: redis.Redis) -> None:
    server.set("key", "job d1")
    before = contents(server)
    assert RESERVE_KEY.run(server, ["key"], ["other", "d2", 10]) == [b"conflict"]
    assert contents(server) == before


def test_a_reservation_is_released_by_its_own_job_alone(server: redis.Redis) -> None:
    RESERVE_KEY.run(server, ["key"], ["job", "d1", 10])
    RELEASE_KEY.run(server, ["key"], ["other", "d1"])
    assert server.get("key") == b"?job d1"
    for _ in range(2):
        RELEASE_KEY.run(server, ["key"], ["job", "d1"])
        assert server.get("key") is None


def test_the_key_of_a_job_that_was_sent_is_not_released(server: redis.Redis) -> None:
    server.set("key", "job d1")
    RELEASE_KEY.run(server, ["key"], ["job", "d1"])
    assert server.get("key") == b"job d1"


def test_no_key_is_reserved_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        RESERVE_KEY.run(server, ["key"], ["job", "d1", 10])
    assert contents(server) == {}


# --- cancel_job ----------------------------------------------------------------------------


def _cancel(server: redis.Redis) -> list[Any]:
    reply: list[Any] = CANCEL.run(
        server, ["job", "group", "cancelled"], [CANCELLED, TTL_S, "the id"]
    )
    return reply


@pytest.mark.parametrize("place", ["job", "group"])
def test_a_queued_job_is_cancelled_published_and_recorded(server: redis.Redis, place: str) -> None:
    server.set(place, QUEUED)
    server.zadd("cancelled", {"old": time.time() - 2 * TTL_S})
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("job")
        assert _cancel(server) == [QUEUED, 1]
        published = [listener.get_message(timeout=1) for _ in range(2)]
    assert [message["data"] for message in published if message] == [CANCELLED]
    assert server.get("job") == CANCELLED
    assert server.zrange("cancelled", 0, -1) == [b"the id"]


@pytest.mark.parametrize("status", ["STARTED", "SUCCESS", "FAILURE", "REVOKED", "PROGRESS"])
def test_a_job_that_runs_or_has_ended_is_not_cancelled(server: redis.Redis, status: str) -> None:
    document = f'{{"status": "{status}"}}'.encode()
    server.set("job", document)
    server.set("group", QUEUED)
    before = contents(server)
    assert _cancel(server) == [document, 0]
    assert contents(server) == before


def test_a_job_without_a_document_is_not_cancelled(server: redis.Redis) -> None:
    assert _cancel(server) == [None, 0]
    assert contents(server) == {}


def test_a_job_is_cancelled_once(server: redis.Redis) -> None:
    server.set("job", QUEUED)
    _cancel(server)
    before = contents(server)
    assert _cancel(server) == [CANCELLED, 0]
    assert contents(server) == before


def test_no_job_is_cancelled_when_memory_is_full(server: redis.Redis) -> None:
    server.set("job", QUEUED)
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        _cancel(server)
    assert server.get("job") == QUEUED


# --- read_cancelled ------------------------------------------------------------------------


def _read_cancelled(server: redis.Redis, *, since_s: float = 0, skip: int = 0) -> list[bytes]:
    reply = READ_CANCELLED.run(server, ["cancelled"], [since_s, skip, 2, TTL_S])
    assert abs(int(reply[0]) - time.time()) < TTL_S
    return cast("list[bytes]", reply[1::2])


def test_cancelled_jobs_are_read_in_pages_the_earliest_first(server: redis.Redis) -> None:
    now_s = int(server.time()[0])
    server.zadd("cancelled", {"c": now_s, "b": now_s - 1, "a": now_s - 2})
    assert _read_cancelled(server) == [b"a", b"b"]
    assert _read_cancelled(server, skip=2) == [b"c"]
    assert _read_cancelled(server, since_s=now_s - 1) == [b"b", b"c"]


def test_cancelled_jobs_of_the_future_and_older_than_results_are_removed(
    server: redis.Redis,
) -> None:
    now_s = int(server.time()[0])
    server.zadd("cancelled", {"forged": 9e12, "old": now_s - TTL_S - 5, "new": now_s})
    assert _read_cancelled(server) == [b"new"]
    assert _read_cancelled(server) == [b"new"]
    assert server.zrange("cancelled", 0, -1) == [b"new"]


def test_no_cancelled_jobs_are_read_where_none_were_recorded(server: redis.Redis) -> None:
    assert _read_cancelled(server) == []
    assert server.exists("cancelled") == 0


def test_cancelled_jobs_of_another_type_are_an_error(server: redis.Redis) -> None:
    server.set("cancelled", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        _read_cancelled(server)


# --- requeue_one_result, retry_dead_letter -------------------------------------------------


@pytest.mark.parametrize("status", [None, "PENDING", "STARTED", "RETRY", "FAILURE"])
def test_the_result_of_a_failed_or_unfinished_job_is_queued_again(
    server: redis.Redis, status: str | None
) -> None:
    if status is not None:
        server.set("job", f'{{"status": "{status}"}}')
    for _ in range(2):
        assert REQUEUE_RESULT.run(server, ["job"], [QUEUED, TTL_S]) == 1
        assert server.get("job") == QUEUED
    assert 0 < server.ttl("job") <= TTL_S


@pytest.mark.parametrize("document", [b'{"status":"SUCCESS"}', CANCELLED, b"foreign"])
def test_an_outcome_a_cancellation_and_a_foreign_document_stay(
    server: redis.Redis, document: bytes
) -> None:
    server.set("job", document)
    assert REQUEUE_RESULT.run(server, ["job"], [QUEUED, TTL_S]) == 0
    assert server.get("job") == document


def test_the_result_of_another_type_is_an_error(server: redis.Redis) -> None:
    server.lpush("job", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        REQUEUE_RESULT.run(server, ["job"], [QUEUED, TTL_S])


def _dead_letter(server: redis.Redis) -> bytes:
    return cast("bytes", server.xadd("dead", {"message": b"raw"}))


def test_a_dead_letter_is_retried_once(server: redis.Redis) -> None:
    entry_id = _dead_letter(server)
    server.set("job", b'{"status":"FAILURE"}')
    arguments = [entry_id, b"message", QUEUED, TTL_S]
    assert RETRY.run(server, ["dead", "queue", "job"], arguments) == b"retried"
    assert (_list(server, "queue"), server.get("job")) == ([b"message"], QUEUED)
    assert server.xlen("dead") == 0
    before = contents(server)
    assert RETRY.run(server, ["dead", "queue", "job"], arguments) == b"not_found"
    assert contents(server) == before


def test_the_dead_letter_of_an_answered_job_is_removed_and_not_retried(
    server: redis.Redis,
) -> None:
    entry_id = _dead_letter(server)
    server.set("job", b'{"status":"SUCCESS"}')
    arguments = [entry_id, b"message", QUEUED, TTL_S]
    assert RETRY.run(server, ["dead", "queue", "job"], arguments) == b"ended"
    assert (_list(server, "queue"), server.xlen("dead")) == ([], 0)
    assert server.get("job") == b'{"status":"SUCCESS"}'


def test_a_dead_letter_is_retried_without_a_document_of_its_job(server: redis.Redis) -> None:
    entry_id = _dead_letter(server)
    assert RETRY.run(server, ["dead", "queue"], [entry_id, b"m", QUEUED, TTL_S]) == b"retried"
    assert _list(server, "queue") == [b"m"]


def test_a_dead_letter_stays_when_memory_is_full(server: redis.Redis) -> None:
    entry_id = _dead_letter(server)
    before = contents(server)
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        RETRY.run(server, ["dead", "queue", "job"], [entry_id, b"m", QUEUED, TTL_S])
    assert contents(server) == before


# --- append_dead_letter --------------------------------------------------------------------

APPEND_DEAD_LETTER: Final = Script(
    resolve_includes(
        "-- include: append_dead_letter\n"
        "return append_dead_letter(KEYS[1], ARGV[1], {unpack(ARGV, 2)})\n"
    )
)


def test_a_dead_letter_is_appended_and_older_ones_are_removed(server: redis.Redis) -> None:
    long_ago_ms = int((time.time() - 2 * TTL_S) * 1000)
    server.execute_command("XADD", "dead", f"{long_ago_ms}-0", "message", "old")
    entry_id = APPEND_DEAD_LETTER.run(server, ["dead"], [TTL_S, "code", "c", "message", b"\xff"])
    entries = cast("list[Any]", server.xrange("dead"))
    assert entries == [(entry_id, {b"code": b"c", b"message": b"\xff"})]


def test_about_10000_dead_letters_are_kept(server: redis.Redis) -> None:
    with server.pipeline(transaction=False) as pipeline:
        for _ in range(10_300):
            pipeline.xadd("dead", {"message": "m"})
        pipeline.execute()
    APPEND_DEAD_LETTER.run(server, ["dead"], [TTL_S, "message", "newest"])
    assert 10_000 <= server.xlen("dead") <= 10_200


# --- write_report, read_reports ------------------------------------------------------------


def test_reports_are_written_and_read(server: redis.Redis) -> None:
    for name in ("a", "b"):
        WRITE_REPORT.run(server, [f"report:{name}", "index"], [name, f"report of {name}", TTL_S])
    assert READ_REPORTS.run(server, ["index"], ["report:"]) == [b"report of a", b"report of b"]
    assert 0 < server.ttl("report:a") <= TTL_S


def test_a_report_replaces_the_last_one_of_its_worker(server: redis.Redis) -> None:
    for text in ("first", "second"):
        WRITE_REPORT.run(server, ["report:a", "index"], ["a", text, TTL_S])
    assert READ_REPORTS.run(server, ["index"], ["report:"]) == [b"second"]


def test_a_worker_whose_report_has_expired_leaves_the_index(server: redis.Redis) -> None:
    server.zadd("index", {"gone": time.time() - 1})
    assert READ_REPORTS.run(server, ["index"], ["report:"]) == [None]
    WRITE_REPORT.run(server, ["report:a", "index"], ["a", "x", TTL_S])
    assert server.zrange("index", 0, -1) == [b"a"]


def test_without_workers_no_reports_are_read(server: redis.Redis) -> None:
    assert READ_REPORTS.run(server, ["index"], ["report:"]) == []


def test_a_report_is_written_also_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server):
        WRITE_REPORT.run(server, ["report:a", "index"], ["a", "x", TTL_S])
    assert sorted(contents(server)) == [b"index", b"report:a"]


# --- read_dead_letter_codes ----------------------------------------------------------------


def _write_dead_letters(server: redis.Redis, count: int, size_bytes: int = 10) -> None:
    for number in range(1, count + 1):
        fields = {"message": "x" * size_bytes} | ({"code": "invalid"} if number % 2 else {})
        server.xadd("dead", cast("Any", fields), id=f"{number}-0")


def test_codes_of_dead_letters_are_read_without_their_messages(server: redis.Redis) -> None:
    _write_dead_letters(server, 3)
    codes = [b"1-0", b"invalid", b"2-0", b"", b"3-0", b"invalid"]
    assert READ_CODES.run(server, ["dead"], ["0", 10, 10_000]) == codes
    assert READ_CODES.run(server, ["dead"], ["2-0", 10, 10_000]) == codes[4:]
    assert READ_CODES.run(server, ["dead"], ["3-0", 10, 10_000]) == []


@pytest.mark.parametrize(("most", "most_bytes"), [(20, 10_000_000), (1000, 2_000)])
def test_reading_codes_ends_at_a_limit(server: redis.Redis, most: int, most_bytes: int) -> None:
    _write_dead_letters(server, 50, size_bytes=1000)
    assert len(READ_CODES.run(server, ["dead"], ["0", most, most_bytes])) == 2 * 20


# --- add_to_history ------------------------------------------------------------------------


def test_add_to_history_adds_each_count_and_renews_the_lifetime(server: redis.Redis) -> None:
    for _ in range(2):
        assert ADD_TO_HISTORY.run(server, ["slot"], [TTL_S, "texts", 7, "jobs", 1]) is None
    assert server.hgetall("slot") == {b"texts": b"14", b"jobs": b"2"}
    assert 0 < server.ttl("slot") <= TTL_S
