"""Deadlines are told by Redis' clock, whatever this host's says."""

from __future__ import annotations

import time

import pytest

from sentq.contract import DEADLINE_HEADER
from sentq_worker.broker.clock import WorkerClock
from sentq_worker.jobs.deadline import has_passed

_HOUR_S = 3600


def test_until_redis_said_something_it_is_this_hosts_time() -> None:
    assert abs(WorkerClock().now_ms() / 1000 - time.time()) < 1


@pytest.mark.parametrize("skew_s", [-5 * _HOUR_S, 0.25, 5 * _HOUR_S])
def test_it_goes_on_from_what_redis_said_halfway_between_question_and_answer(skew_s: float) -> None:
    clock = WorkerClock()
    asked_at_s = time.monotonic() - 0.4
    clock.set(time.time() + skew_s, asked_at_s=asked_at_s, answered_at_s=asked_at_s + 0.4)
    ahead_s = clock.now_ms() / 1000 - time.time() - skew_s
    assert 0.19 < ahead_s < 0.3


def test_a_clock_that_is_set_on_this_host_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkerClock()
    now = time.monotonic()
    clock.set(1_800_000_000.0, asked_at_s=now, answered_at_s=now)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert not has_passed({DEADLINE_HEADER: 1_800_000_001_000}, clock.now_ms())
    assert has_passed({DEADLINE_HEADER: 1_800_000_000_000}, clock.now_ms())
    assert not has_passed({}, clock.now_ms())
