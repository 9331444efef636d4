"""The recent work of a worker: its rate, and the share of time with jobs."""

from __future__ import annotations

import pytest

from sentq_worker.reports.recent import RecentWork


@pytest.fixture
def clock() -> list[float]:
    """The time, which tests set."""
    return [100.0]


@pytest.fixture
def recent(clock: list[float]) -> RecentWork:
    return RecentWork(lambda: clock[0])


def test_a_window_that_is_over_replaces_the_one_before(
    recent: RecentWork, clock: list[float]
) -> None:
    clock[0] += 10
    recent.measure(50, 4.0)
    assert (recent.jobs_per_s, recent.busy_share) == (5.0, 0.4)
    clock[0] += 6
    recent.measure(80, 10.0)
    assert (recent.jobs_per_s, recent.busy_share) == (5.0, 0.4), "the window is not over"
    clock[0] += 14
    recent.measure(90, 14.0)
    assert (recent.jobs_per_s, recent.busy_share) == (2.0, 0.5)
    clock[0] += 20
    recent.measure(90, 14.0)
    assert (recent.jobs_per_s, recent.busy_share) == (0.0, 0.0)


def test_work_after_a_pause_counts_at_once(recent: RecentWork, clock: list[float]) -> None:
    clock[0] += 10
    recent.measure(0, 0.0)
    clock[0] += 2
    recent.measure(0, 1.0)
    assert recent.busy_share == 0.5, "a long job is not completed yet"
    clock[0] += 2
    recent.measure(8, 2.0)
    assert (recent.jobs_per_s, recent.busy_share) == (2.0, 0.5)


def test_a_share_is_at_most_1(recent: RecentWork, clock: list[float]) -> None:
    clock[0] += 10
    recent.measure(10, 10.5)  # The two clocks are read one after the other.
    assert recent.busy_share == 1.0
