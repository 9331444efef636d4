"""The Lua scripts of webhooks on a real Redis: `take_webhooks`, `settle_webhook` and
`retry_webhook`."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
import redis

from sentq.wire.lua import load_script
from tests.support.redis_state import contents, full_memory

TAKE: Final = load_script("sentq.wire", "take_webhooks")
SETTLE: Final = load_script("sentq.wire", "settle_webhook")
RETRY: Final = load_script("sentq.wire", "retry_webhook")

LEASE_MS: Final = 60_000


def _take(
    server: redis.Redis,
    *,
    most: int = 10,
    lease_ms: int = LEASE_MS,
    max_waiting: int = 100,
    per_host: int = 5,
    in_flight: tuple[object, ...] = (),
) -> dict[str, tuple[int, dict[bytes, bytes]]]:
    """Take webhooks; return the lease and the fields of each by its id."""
    arguments = ["w:", most, lease_ms, max_waiting, per_host, *in_flight]
    _, _, taken = TAKE.run(server, ["queue", "due", "dead"], arguments)
    return {
        id_.decode(): (lease, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        for id_, lease, pairs in taken
    }


def _settle(
    server: redis.Redis, id_: str, lease: int, what: str, number: int = 60, *fields: object
) -> Any:
    keys = ["due", "dead", f"w:{id_}", "disabled"]
    return SETTLE.run(server, keys, [id_, lease, what, number, 2, "w:", *fields])


def _retry(server: redis.Redis, id_: str) -> bytes:
    reply: bytes = RETRY.run(server, ["due", "dead", f"w:{id_}", "disabled"], [id_])
    return reply


def _one(server: redis.Redis, message: str = "message") -> tuple[str, int]:
    """Take a new webhook, and return its id and lease."""
    server.lpush("queue", message)
    ((id_, (lease, _)),) = _take(server).items()
    return id_, lease


# --- take_webhooks -------------------------------------------------------------------------


def test_a_message_becomes_a_leased_webhook(server: redis.Redis) -> None:
    server.lpush("queue", "message")
    before_ms = time.time() * 1000
    ((id_, (lease, fields)),) = _take(server).items()
    assert (fields[b"message"], fields[b"attempts"]) == (b"message", b"1")
    assert before_ms - 100 <= int(fields[b"first_ms"]) <= time.time() * 1000 + 100
    assert lease == int(fields[b"first_ms"]) + LEASE_MS
    assert server.zscore("due", id_) == lease
    assert not server.exists("queue")
    assert _take(server) == {}, "it is leased"


def test_the_oldest_message_is_taken_first_and_no_more_than_asked_for(server: redis.Redis) -> None:
    server.lpush("queue", "1", "2", "3")
    assert [fields[b"message"] for _, fields in _take(server, most=2).values()] == [b"1", b"2"]
    assert server.lrange("queue", 0, -1) == [b"3"]


def test_a_message_that_comes_again_is_the_same_webhook(server: redis.Redis) -> None:
    id_, lease = _one(server)
    server.lpush("queue", "message")
    assert _take(server) == {}
    assert server.zscore("due", id_) == lease
    assert not server.exists("queue")


def test_a_webhook_whose_lease_expired_is_taken_again(server: redis.Redis) -> None:
    server.lpush("queue", "message")
    (first,) = _take(server, lease_ms=1)
    time.sleep(0.01)
    ((second, (_, fields)),) = _take(server).items()
    assert (second, fields[b"attempts"]) == (first, b"2")


def test_new_messages_stay_in_their_queue_while_too_many_wait(server: redis.Redis) -> None:
    server.lpush("queue", "1", "2", "3")
    assert len(_take(server, max_waiting=2)) == 2
    assert server.llen("queue") == 1


def test_webhooks_of_a_busy_host_are_due_later_and_others_are_taken(server: redis.Redis) -> None:
    now_ms = round(time.time() * 1000)
    for number, host in enumerate(["busy"] * 5 + ["other"]):
        server.hset(f"w:{number}", mapping={"host": host, "attempts": 0})
        server.zadd("due", {str(number): now_ms - 1000 + number})
    taken = _take(server, per_host=3, in_flight=("busy", 1))
    assert set(taken) == {"0", "1", "5"}
    later = server.zscore("due", "2")
    assert later is not None
    assert 1_900 <= later - now_ms <= 3_000
    assert server.hget("w:2", "attempts") == b"0"


def test_a_webhook_without_a_record_is_removed(server: redis.Redis) -> None:
    server.zadd("due", {"lost": 1})
    assert _take(server) == {}
    assert contents(server) == {}


def test_webhooks_are_taken_and_settled_while_memory_is_full(server: redis.Redis) -> None:
    server.lpush("queue", "message")
    with full_memory(server):
        ((id_, (lease, _)),) = _take(server).items()
        assert _settle(server, id_, lease, "retry", 1000, "last_error", "e") == 1
        assert _retry(server, id_) == b"retried"


# --- settle_webhook ------------------------------------------------------------------------


def test_nothing_is_left_of_a_delivered_webhook(server: redis.Redis) -> None:
    id_, lease = _one(server)
    assert _settle(server, id_, lease, "delivered") == 1
    assert contents(server) == {}
    assert _settle(server, id_, lease, "delivered") == 1


def test_a_failed_webhook_is_due_again_with_its_body(server: redis.Redis) -> None:
    id_, lease = _one(server)
    assert _settle(server, id_, lease, "retry", 5000, "body", "{}", "last_error", "e") == 1
    due_ms = server.zscore("due", id_)
    assert due_ms is not None
    assert 4_000 <= due_ms - time.time() * 1000 <= 6_000
    fields: Any = server.hgetall(f"w:{id_}")
    assert (fields[b"body"], fields[b"last_error"]) == (b"{}", b"e")
    assert b"message" not in fields
    assert _settle(server, id_, lease, "retry", 0) == 0, "it was settled"


def test_a_late_process_does_not_move_a_webhook_that_another_one_has(server: redis.Redis) -> None:
    server.lpush("queue", "message")
    ((id_, (late, _)),) = _take(server, lease_ms=1).items()
    time.sleep(0.01)
    ((_, (lease, _)),) = _take(server).items()
    before = contents(server)
    assert _settle(server, id_, late, "dead", 60, "last_error", "e") == 0
    assert contents(server).keys() == before.keys()
    assert _settle(server, id_, lease, "delivered") == 1
    assert _settle(server, id_, late, "retry", 0, "last_error", "e") == 0
    assert contents(server) == {}, "a delivered webhook does not come back"


def test_a_dead_webhook_is_kept_for_a_while(server: redis.Redis) -> None:
    id_, lease = _one(server)
    assert _settle(server, id_, lease, "dead", 60, "last_error", "e") == 1
    assert server.zrange("dead", 0, -1) == [id_.encode()]
    assert not server.exists("due", "disabled")
    assert 0 < server.ttl(f"w:{id_}") <= 60
    assert 0 < server.ttl("dead") <= 60


def test_only_the_newest_dead_webhooks_are_kept(server: redis.Redis) -> None:
    ids = []
    for number in range(4):
        id_, lease = _one(server, f"message {number}")
        _settle(server, id_, lease, "dead")
        ids.append(id_)
        time.sleep(0.002)
    assert server.zrange("dead", 0, -1) == [each.encode() for each in ids[2:]]
    assert [server.exists(f"w:{each}") for each in ids] == [0, 0, 1, 1]


def test_a_gone_receiver_is_recorded_by_its_url(server: redis.Redis) -> None:
    id_, lease = _one(server)
    assert _settle(server, id_, lease, "gone", 60, "url", "https://x/") == 1
    assert server.zrange("disabled", 0, -1) == [b"https://x/"]
    assert 0 < server.ttl("disabled") <= 60


# --- retry_webhook -------------------------------------------------------------------------


def test_a_dead_webhook_is_due_now_as_a_new_one(server: redis.Redis) -> None:
    id_, lease = _one(server)
    _settle(server, id_, lease, "gone", 60, "url", "https://x/")
    assert _retry(server, id_) == b"retried"
    assert not server.exists("dead", "disabled")
    assert server.ttl(f"w:{id_}") == -1
    ((taken, (_, fields)),) = _take(server).items()
    assert (taken, fields[b"attempts"]) == (id_, b"1")


def test_a_waiting_webhook_is_due_now_and_keeps_its_attempts(server: redis.Redis) -> None:
    id_, lease = _one(server)
    _settle(server, id_, lease, "retry", 100_000)
    assert _take(server) == {}
    assert _retry(server, id_) == b"retried"
    ((_, (_, fields)),) = _take(server).items()
    assert fields[b"attempts"] == b"2"


def test_a_webhook_that_is_being_sent_is_left_alone(server: redis.Redis) -> None:
    id_, lease = _one(server)
    assert _retry(server, id_) == b"in_flight"
    assert server.zscore("due", id_) == lease


@pytest.mark.parametrize("places", [(), ("dead",)])
def test_a_webhook_that_does_not_exist_is_not_retried(
    server: redis.Redis, places: tuple[str, ...]
) -> None:
    for place in places:
        server.zadd(place, {"absent": 1})
    assert _retry(server, "absent") == b"not_found"
    assert contents(server) == {}
