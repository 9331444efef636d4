"""The Lua scripts of scheduled jobs, each on a real Redis: the normal case, limits, refusals, and
repetition."""

from __future__ import annotations

import json
import time
from typing import Any, Final, cast

import redis

from sentq.wire.lua import load_script
from tests.support.redis_state import contents, full_memory

SCHEDULE: Final = load_script("sentq_worker.broker", "schedule_message")
QUEUE_DUE: Final = load_script("sentq_worker.broker", "queue_due_messages")
TAKE: Final = load_script("sentq_worker.broker", "take_scheduled_messages")

UNACKED: Final = ("unacked", "unacked_index")
SCHEDULED: Final = ("sentq.scheduled", "sentq.scheduled.messages")
QUEUE: Final = "café/"
HOUR_MS: Final = 3_600_000


def _now_ms(server: redis.Redis) -> int:
    seconds, microseconds = server.time()
    return seconds * 1000 + microseconds // 1000


def _schedule(
    server: redis.Redis,
    tag: str,
    job_id: str,
    in_ms: int = HOUR_MS,
    *,
    max_jobs: int = 10,
    max_bytes: int = 1000,
    key: str = "list",
) -> str:
    due_ms = _now_ms(server) + in_ms
    arguments = [tag, job_id, due_ms, key, QUEUE, max_jobs, max_bytes]
    return cast("bytes", SCHEDULE.run(server, [*UNACKED, *SCHEDULED], arguments)).decode()


def _record(server: redis.Redis, tag: str, message: str = '{"n":1}') -> None:
    """Record a message as unacknowledged, as the script that takes messages does."""
    queue = json.dumps(QUEUE, ensure_ascii=False).replace("/", "\\/")
    server.hset("unacked", tag, f'[{message}, "", {queue}]')
    server.zadd("unacked_index", {tag: time.time()})


def _add(server: redis.Redis, job_id: str, in_ms: int = HOUR_MS, **options: Any) -> None:
    """Schedule a message that names its job."""
    _record(server, f"tag-{job_id}", json.dumps({"id": job_id}))
    assert _schedule(server, f"tag-{job_id}", job_id, in_ms, **options) == "scheduled"


def _make_due(server: redis.Redis, *job_ids: str) -> None:
    server.zadd("sentq.scheduled", {job_id: n + 1 for n, job_id in enumerate(job_ids)})


def _queue_due(server: redis.Redis, limit: int = 100) -> list[int]:
    return cast("list[int]", QUEUE_DUE.run(server, SCHEDULED, [limit, 60_000]))


def _take(server: redis.Redis, *ids: str, limit: int = 20, limit_bytes: int = 1000) -> list[Any]:
    arguments = ["t-", limit, limit_bytes, 2, "other", QUEUE, *ids]
    return cast("list[Any]", TAKE.run(server, [*UNACKED, *SCHEDULED], arguments))


def _bytes(server: redis.Redis) -> tuple[int, int]:
    """Return the bytes that are counted, and those that are there."""
    values = cast("dict[bytes, bytes]", server.hgetall("sentq.scheduled.messages"))
    counted = int(values.pop(b"", b"0"))
    return counted, sum(map(len, values.values()))


# --- schedule_message ------------------------------------------------------------------------


def test_a_message_moves_into_the_schedule(server: redis.Redis) -> None:
    _record(server, "a")
    due_ms = _now_ms(server) + HOUR_MS
    assert _schedule(server, "a", "job") == "scheduled"
    assert not server.exists(*UNACKED)
    ((name, score),) = cast("Any", server.zrange("sentq.scheduled", 0, -1, withscores=True))
    assert name == b"job"
    assert due_ms <= score <= due_ms + 5000
    assert _bytes(server)[0] == _bytes(server)[1] > 0


def test_a_message_of_a_job_that_is_due_stays(server: redis.Redis) -> None:
    _record(server, "a")
    before = contents(server)
    for in_ms in (0, -1, -HOUR_MS):
        assert _schedule(server, "a", "job", in_ms) == "due"
    assert contents(server) == before


def test_a_message_that_is_no_longer_recorded_is_not_scheduled(server: redis.Redis) -> None:
    assert _schedule(server, "a", "job") == "gone"
    assert contents(server) == {}


def test_repeated_it_changes_nothing(server: redis.Redis) -> None:
    _record(server, "a")
    _schedule(server, "a", "job")
    before = contents(server)
    assert _schedule(server, "a", "job") == "gone"
    assert contents(server) == before


def test_a_limit_of_jobs_or_bytes_leaves_everything_as_it_was(server: redis.Redis) -> None:
    for name in ("a", "b"):
        _add(server, name)
    _record(server, "c")
    before = contents(server)
    assert _schedule(server, "c", "c", max_jobs=2) == "too many jobs"
    assert _schedule(server, "c", "c", max_bytes=_bytes(server)[0] + 10) == "too many bytes"
    assert contents(server) == before
    assert _schedule(server, "c", "c", max_jobs=3) == "scheduled"


def test_two_messages_of_one_job_are_both_kept(server: redis.Redis) -> None:
    for tag in ("a", "b"):
        _record(server, tag, f'{{"tag":"{tag}"}}')
        assert _schedule(server, tag, "job") == "scheduled"
    assert server.zrange("sentq.scheduled", 0, -1) == [b"job", b"job b"]
    _make_due(server, "job", "job b")
    assert _queue_due(server) == [2, 0, -1]
    assert server.lrange("list", 0, -1) == [b'{"tag":"b"}', b'{"tag":"a"}']


def test_a_full_redis_schedules_a_message(server: redis.Redis) -> None:
    _record(server, "a")
    with full_memory(server):
        assert _schedule(server, "a", "job") == "scheduled"


# --- queue_due_messages ----------------------------------------------------------------------


def test_due_messages_join_the_ends_of_their_queues_in_order(server: redis.Redis) -> None:
    for name in ("a", "b", "c"):
        _add(server, name, key="low" if name == "c" else "list")
    _add(server, "later")
    server.lpush("list", "waits")
    _make_due(server, "b", "a", "c")
    moved, postponed, next_ms = _queue_due(server)
    assert (moved, postponed) == (3, 0)
    assert HOUR_MS - 60_000 < next_ms <= HOUR_MS
    taken = cast("list[bytes]", server.lrange("list", 0, -1))[::-1]
    assert taken == [b"waits", b'{"id": "b"}', b'{"id": "a"}']
    assert server.lrange("low", 0, -1) == [b'{"id": "c"}']
    assert server.zrange("sentq.scheduled", 0, -1) == [b"later"]
    assert _bytes(server)[0] == _bytes(server)[1] > 0


def test_nothing_is_queued_before_it_is_due_and_repetition_does_nothing(
    server: redis.Redis,
) -> None:
    assert _queue_due(server) == [0, 0, -1]
    _add(server, "a")
    assert _queue_due(server)[0] == 0
    _make_due(server, "a")
    assert [_queue_due(server)[0] for _ in range(2)] == [1, 0]
    assert server.llen("list") == 1
    assert not server.exists(*SCHEDULED)


def test_many_due_messages_are_queued_in_several_steps(server: redis.Redis) -> None:
    names = [f"{n}" for n in range(5)]
    for name in names:
        _add(server, name)
    _make_due(server, *names)
    assert [_queue_due(server, limit=2) for _ in range(3)] == [[2, 0, 0], [2, 0, 0], [1, 0, -1]]
    assert server.llen("list") == 5


def test_a_message_whose_queue_is_not_a_list_is_kept_and_the_others_move(
    server: redis.Redis,
) -> None:
    _add(server, "a")
    _add(server, "b", key="other")
    _make_due(server, "a", "b")
    server.set("list", "forged")
    assert _queue_due(server)[:2] == [1, 1]
    assert server.llen("other") == 1
    (again_ms,) = cast("list[float]", server.zmscore("sentq.scheduled", ["a"]))
    assert again_ms > _now_ms(server) + 30_000
    server.delete("list")
    _make_due(server, "a")
    assert _queue_due(server) == [1, 0, -1]
    assert server.lrange("list", 0, -1) == [b'{"id": "a"}']


def test_names_without_a_readable_message_are_removed(server: redis.Redis) -> None:
    _add(server, "a")
    server.hset("sentq.scheduled.messages", "forged", "x")
    _make_due(server, "forged", "missing", "a")
    assert _queue_due(server) == [1, 0, -1]
    assert not server.exists(*SCHEDULED)


def test_a_full_redis_queues_what_is_due(server: redis.Redis) -> None:
    _add(server, "a")
    _make_due(server, "a")
    with full_memory(server):
        assert _queue_due(server) == [1, 0, -1]
    assert server.llen("list") == 1


# --- take_scheduled_messages -----------------------------------------------------------------


def test_messages_are_taken_by_id_and_recorded_as_unacknowledged(server: redis.Redis) -> None:
    for name in ("a", "b", "c"):
        _add(server, name)
    looked_at, taken = _take(server, "c", "unknown", "a")
    assert looked_at == 3
    assert taken == [QUEUE.encode(), b'{"id": "c"}', QUEUE.encode(), b'{"id": "a"}']
    entries = cast("dict[bytes, bytes]", server.hgetall("unacked"))
    assert json.loads(entries[b"t-0"]) == [{"id": "c"}, "", QUEUE]
    assert sorted(entries) == server.zrange("unacked_index", 0, -1) == [b"t-0", b"t-1"]
    assert server.zrange("sentq.scheduled", 0, -1) == [b"b"]
    assert _bytes(server)[0] == _bytes(server)[1]
    assert _take(server, "c", "a") == [2, []]


def test_messages_of_queues_that_are_not_read_stay(server: redis.Redis) -> None:
    _add(server, "a")
    arguments = ["t-", 20, 1000, 1, "other", "a"]
    assert TAKE.run(server, [*UNACKED, *SCHEDULED], arguments) == [1, []]
    assert server.zrange("sentq.scheduled", 0, -1) == [b"a"]


def test_taking_stops_at_its_limits(server: redis.Redis) -> None:
    for name in ("a", "b", "c"):
        _add(server, name)
    assert _take(server, "a", "b", "c", limit=2)[0] == 2
    assert server.zrange("sentq.scheduled", 0, -1) == [b"c"]
    _add(server, "d")
    assert _take(server, "c", "d", limit_bytes=1)[0] == 1
