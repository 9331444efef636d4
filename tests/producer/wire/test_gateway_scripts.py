"""The scripts of gateways, on a real Redis."""

from __future__ import annotations

import time

import pytest
import redis

from sentq.wire.functions import FUNCTIONS


def _take(server: redis.Redis, most: int, wanted: int) -> list[int]:
    reply: list[int] = FUNCTIONS["take_tokens"].run(server, ["bucket"], [most, wanted])
    return reply


def test_a_bucket_fills_by_its_size_in_a_minute(server: redis.Redis) -> None:
    assert _take(server, 60_000, 59_000)[:2] == [1, 1000]
    assert _take(server, 60_000, 50_000)[0] == 0
    seconds, microseconds = server.time()
    server.hset("bucket", "at_ms", seconds * 1000 + microseconds // 1000 - 30_000)
    is_taken, left, full_ms = _take(server, 60_000, 30_000)
    assert is_taken == 1
    assert 1000 <= left <= 2000
    assert full_ms == pytest.approx(60_000 - left, abs=2)
    assert 0 < server.pttl("bucket") <= full_ms


def test_more_than_a_bucket_holds_is_given_when_it_is_full_and_missing_afterwards(
    server: redis.Redis,
) -> None:
    assert _take(server, 100, 250) == [1, 0, 150_000]
    is_taken, left, wait_ms = _take(server, 100, 1)
    assert (is_taken, left) == (0, 0)
    assert wait_ms == pytest.approx(90_600, abs=200)


def test_a_clock_that_was_set_back_gives_no_tokens(server: redis.Redis) -> None:
    _take(server, 100, 100)
    server.hset("bucket", "at_ms", round(time.time() * 1000) + 3_600_000)
    assert _take(server, 100, 1)[0] == 0


# --- Attempts of requests --------------------------------------------------------------------


def _begin(
    server: redis.Redis,
    attempt: str,
    *,
    fingerprint: str = "f",
    lasts_ms: int = 5000,
    made: str = "",
) -> list[bytes | int]:
    arguments = [fingerprint, attempt, lasts_ms, 60, made]
    reply: list[bytes | int] = FUNCTIONS["begin_request"].run(server, ["record"], arguments)
    return reply


def _end(server: redis.Redis, attempt: str) -> int:
    reply: int = FUNCTIONS["end_request"].run(server, ["record"], [attempt])
    return reply


def test_one_attempt_runs_at_a_time(server: redis.Redis) -> None:
    assert _begin(server, "one", made="batch") == [b"begun", b"batch"]
    state, left_ms = _begin(server, "two")
    assert state == b"in progress"
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 5000
    # It renews itself, and what was made stays.
    assert _begin(server, "one", made="other") == [b"begun", b"batch"]
    assert _end(server, "two") == 0
    assert _end(server, "one") == 1
    assert _begin(server, "two", made="other") == [b"begun", b"batch"]
    assert 0 < server.ttl("record") <= 60


def test_a_lost_attempt_gives_way_and_does_not_end_the_next_one(server: redis.Redis) -> None:
    _begin(server, "one", lasts_ms=0)
    assert _begin(server, "two")[0] == b"begun"
    assert _end(server, "one") == 0
    assert _begin(server, "one")[0] == b"in progress"


def test_an_attempt_with_other_content_is_refused_also_when_none_runs(server: redis.Redis) -> None:
    _begin(server, "one")
    assert _begin(server, "one", fingerprint="g") == [b"conflict"]
    _end(server, "one")
    assert _begin(server, "two", fingerprint="g") == [b"conflict"]
