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
    seconds, microseconds = server.time()  # type: ignore[misc]
    server.hset("bucket", "at_ms", seconds * 1000 + microseconds // 1000 - 30_000)
    is_taken, left, full_ms = _take(server, 60_000, 30_000)
    assert is_taken == 1
    assert 1000 <= left <= 2000
    assert full_ms == pytest.approx(60_000 - left, abs=2)
    assert 0 < server.pttl("bucket") <= full_ms  # type: ignore[operator]


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
