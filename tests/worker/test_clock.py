"""The worker's clock, which follows that of Redis and not that of this host."""

from __future__ import annotations

import time

import pytest

from sentq.contract import DEADLINE_HEADER
from sentq_worker.clock import WorkerClock
from sentq_worker.jobs.in_flight import has_deadline_passed

_HOUR_S = 3600


def test_the_clock_of_this_host_is_used_before_the_first_reply_of_redis() -> None:
    assert abs(WorkerClock().now_ms() / 1000 - time.time()) < 1


@pytest.mark.parametrize("skew_s", [-5 * _HOUR_S, 0.25, 5 * _HOUR_S])
def test_the_time_of_redis_is_taken_as_the_middle_of_the_round_trip(skew_s: float) -> None:
    clock = WorkerClock()
    asked_at_s = time.monotonic() - 0.4
    clock.set(time.time() + skew_s, asked_at_s=asked_at_s, answered_at_s=asked_at_s + 0.4)
    ahead_s = clock.now_ms() / 1000 - time.time() - skew_s
    assert 0.19 < ahead_s < 0.3


def test_a_change_of_the_clock_of_this_host_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkerClock()
    now = time.monotonic()
    clock.set(1_800_000_000.0, asked_at_s=now, answered_at_s=now)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert not has_deadline_passed({DEADLINE_HEADER: 1_800_000_001_000}, clock.now_ms())
    assert has_deadline_passed({DEADLINE_HEADER: 1_800_000_000_000}, clock.now_ms())
    assert not has_deadline_passed({}, clock.now_ms())
