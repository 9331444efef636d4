"""The providers' Lua scripts, each on a real Redis: the normal case, nothing to do, refusals, and
repetition where the header of the script says that it is harmless."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
import redis

from sentq.wire.lua import Script, load_script
from tests.support.redis_state import contents, full_memory

KEEP: Final = load_script("sentq_worker.providers", "keep_outcomes")
RESERVE: Final = load_script("sentq_worker.providers", "reserve_call")
TTL_S: Final = 60


# --- keep_outcomes -------------------------------------------------------------------------


def _keep(server: redis.Redis, outcomes: dict[str, str], *, most: int = 10) -> None:
    assert KEEP.run(server, ["index", *outcomes], [most, TTL_S, *outcomes.values()]) == 1


def test_outcomes_are_kept_and_expire(server: redis.Redis) -> None:
    for _ in range(2):
        _keep(server, {"a": "1", "b": "2"})
        assert server.mget("a", "b") == [b"1", b"2"]
        assert server.zcard("index") == 2
    assert all(0 < server.ttl(key) <= TTL_S for key in ("a", "b", "index"))


def test_the_oldest_outcomes_beyond_the_limit_are_removed(server: redis.Redis) -> None:
    for name in ("a", "b", "c"):
        _keep(server, {name: name}, most=2)
    assert server.mget("a", "b", "c") == [None, b"b", b"c"]
    assert server.zrange("index", 0, -1) == [b"b", b"c"]


def test_thousands_of_outcomes_are_removed_in_one_step(server: redis.Redis) -> None:
    names = {f"n{number}": "x" for number in range(2500)}
    _keep(server, names, most=2500)
    _keep(server, {"last": "x"}, most=1)
    assert sorted(contents(server)) == [b"index", b"last"]


def test_expired_outcomes_leave_the_index(server: redis.Redis) -> None:
    server.zadd("index", {"old": (time.time() - 2 * TTL_S) * 1e6})
    _keep(server, {})
    assert server.exists("index") == 0


def test_no_outcome_is_kept_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server), pytest.raises(redis.ResponseError, match="maxmemory"):
        KEEP.run(server, ["index", "a"], [10, TTL_S, "1"])
    assert contents(server) == {}


# --- reserve_call --------------------------------------------------------------------------

NO_LIMIT: Final = -1


def _reserve(script: Script, server: redis.Redis, chars: int, *limits: int) -> int:
    """Return for how many seconds the call must wait."""
    return _replies(script, server, chars, *limits)[0]


def _replies(script: Script, server: redis.Redis, chars: int, *limits: int) -> list[int]:
    return [int(each) for each in script.run(server, ["budget"], [chars, *limits])]


def _budget(server: redis.Redis) -> dict[str, int]:
    fields = cast("dict[bytes, bytes]", server.hgetall("budget"))
    return {name.decode(): int(value) for name, value in fields.items()}


def _at(moment: datetime) -> Script:
    """The script at another time than Redis'."""
    now = "redis.call('TIME')"
    assert now in RESERVE.text
    return Script(RESERVE.text.replace(now, f"{{'{int(moment.timestamp())}', '17'}}"))


def test_a_call_is_counted_for_the_day_and_the_month(server: redis.Redis) -> None:
    for chars in (100, 50):
        assert _reserve(RESERVE, server, chars, *[NO_LIMIT] * 4) == 0
    budget = _budget(server)
    assert (budget["day_calls"], budget["day_chars"]) == (2, 150)
    assert (budget["month_calls"], budget["month_chars"]) == (2, 150)
    today = datetime.fromtimestamp(budget["day"] * 86400, UTC)
    assert budget["month"] == today.year * 12 + today.month


@pytest.mark.parametrize("limited", range(4))
def test_a_call_beyond_a_limit_is_refused_and_not_counted(
    server: redis.Redis, limited: int
) -> None:
    limits: list[Any] = [NO_LIMIT] * 4
    limits[limited] = 1 if limited in {0, 2} else 150
    moment = datetime(2026, 2, 27, 23, 59, 0, tzinfo=UTC)
    script = _at(moment)
    assert _reserve(script, server, 100, *limits) == 0
    before = contents(server)
    wait_s = _reserve(script, server, 100, *limits)
    end = datetime(2026, 2, 28, tzinfo=UTC) if limited < 2 else datetime(2026, 3, 1, tzinfo=UTC)
    assert timedelta(seconds=wait_s) == end - moment
    assert contents(server) == before


def test_the_reply_has_the_amounts_and_the_ends_of_day_and_month(server: redis.Redis) -> None:
    moment = datetime(2026, 2, 27, 23, 59, 0, tzinfo=UTC)
    at_us = int(moment.timestamp()) * 1_000_000 + 17
    limits = (2, NO_LIMIT, NO_LIMIT, 150)
    rests_s = [60, 60 + 86400]
    assert _replies(_at(moment), server, 100, *limits) == [0, at_us, *rests_s, 1, 100, 1, 100]
    _, *about = _replies(_at(moment), server, 51, *limits)
    assert about == [at_us, *rests_s, 1, 100, 1, 100], "a refused call is not among them"
    later = moment + timedelta(minutes=2)
    assert _replies(_at(later), server, 50, *limits)[4:] == [1, 50, 2, 150], "a new day"


def test_a_limit_of_none_permits_no_call(server: redis.Redis) -> None:
    assert _reserve(RESERVE, server, 1, 0, NO_LIMIT, NO_LIMIT, NO_LIMIT) > 0
    assert contents(server) == {}


@pytest.mark.parametrize(
    ("moment", "days_left"),
    [
        (datetime(2023, 12, 31, 12, tzinfo=UTC), 0),
        (datetime(2024, 2, 28, 12, tzinfo=UTC), 1),
        (datetime(2025, 2, 28, 12, tzinfo=UTC), 0),
        (datetime(2000, 2, 1, 12, tzinfo=UTC), 28),
        (datetime(2100, 2, 1, 12, tzinfo=UTC), 27),
        (datetime(2026, 4, 1, 12, tzinfo=UTC), 29),
    ],
)
def test_a_month_ends_by_the_calendar(
    server: redis.Redis, moment: datetime, days_left: int
) -> None:
    script, limits = _at(moment), (NO_LIMIT, NO_LIMIT, 0, NO_LIMIT)
    assert _reserve(script, server, 1, *limits) == 43200 + days_left * 86400


def test_a_new_day_and_a_new_month_begin_at_zero(server: redis.Redis) -> None:
    limits = (1, NO_LIMIT, 2, NO_LIMIT)
    for moment, may_call in (
        (datetime(2026, 1, 30, tzinfo=UTC), True),
        (datetime(2026, 1, 30, 5, tzinfo=UTC), False),
        (datetime(2026, 1, 31, tzinfo=UTC), True),
        (datetime(2026, 2, 1, tzinfo=UTC), True),
    ):
        assert (_reserve(_at(moment), server, 1, *limits) == 0) is may_call
    assert _budget(server)["month_calls"] == 1


def test_a_budget_of_another_type_is_an_error(server: redis.Redis) -> None:
    server.set("budget", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        _reserve(RESERVE, server, 1, *[NO_LIMIT] * 4)


def test_a_call_is_reserved_also_when_memory_is_full(server: redis.Redis) -> None:
    with full_memory(server):
        assert _reserve(RESERVE, server, 7, *[NO_LIMIT] * 4) == 0
    assert _budget(server)["day_chars"] == 7
    assert server.ttl("budget") > 0
