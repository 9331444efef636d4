"""KEDA's part: activation, the way from zero and to zero; and what is shipped, over a long load.

[spec] is https://keda.sh/docs/2.17/reference/scaledobject-spec/.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.rehearsal.keda import Autoscaler, ScaledObject, Trigger
from tests.rehearsal.load import SHOP, Phase, sends
from tests.rehearsal.shipped import oldest_target_s, shipped_scaling, shipped_worker
from tests.support.kubernetes.files import CHART

#: Texts a second of a worker, and the seconds until it takes jobs.
_PACE = 150
_START_S = 6


def _replicas(scaled: ScaledObject, values: Sequence[float], *, start: int = 0) -> list[int]:
    """Return the numbers of replicas after each second of a trigger."""
    autoscaler, found = Autoscaler(scaled, 0.0), []
    for second, value in enumerate(values):
        start = autoscaler.decide(second, start, [value] * len(scaled.triggers))
        found.append(start)
    return found


def test_the_first_job_starts_one_worker_at_the_next_poll() -> None:
    scaled = ScaledObject((Trigger("list", 5),), polling_s=30)
    assert _replicas(scaled, [0] * 10 + [1] * 25)[29:32] == [0, 1, 1]


def test_a_trigger_is_active_above_its_activation_value() -> None:
    scaled = ScaledObject((Trigger("list", 5, activation=50),), polling_s=1)
    # [spec]: up to the activation value there are none, also if the target asks for some.
    assert _replicas(scaled, [50] * 5) == [0] * 5
    assert _replicas(scaled, [51]) > [0]


def test_one_active_trigger_of_several_is_enough() -> None:
    scaled = ScaledObject((Trigger("a", 5), Trigger("b", 5)), polling_s=1)
    assert Autoscaler(scaled, 0.0).decide(0, 0, [0, 1]) == 1
    assert Autoscaler(scaled, 0.0).decide(0, 0, [0, 0]) == 0


def test_the_cooldown_begins_with_the_last_activity() -> None:
    scaled = ScaledObject((Trigger("list", 5),), polling_s=10, cooldown_s=60)
    found = _replicas(scaled, [1] * 21 + [0] * 100)
    # [spec]: the period after the last time a trigger was active; from one on it is the autoscaler.
    assert found.index(0) == 20 + 60 + 10
    assert set(found[:90]) == {1}


def test_a_minimum_is_kept_without_a_cooldown() -> None:
    scaled = ScaledObject((Trigger("list", 5),), polling_s=10, cooldown_s=60, min_replicas=2)
    assert set(_replicas(scaled, [0] * 200)) == {2}


def test_the_maximum_is_that_of_the_manifest() -> None:
    shipped = shipped_scaling()
    assert max(_replicas(shipped, [1e9] * 200)) == shipped.max_replicas == 10


# --- What is shipped -----------------------------------------------------------------------


def test_the_pod_is_that_of_the_manifest() -> None:
    pod = shipped_worker()
    assert pod.environment["SENTQ_WORKER_PREFETCH_JOBS"] == "64"
    assert "SENTQ_BROKER_URL" not in pod.environment
    assert pod.grace_s > float(pod.environment["SENTQ_WORKER_SHUTDOWN_GRACE_S"]) + 20
    assert str(oldest_target_s()).removesuffix(".0") in (CHART / "values.yaml").read_text()


class _FluidQueue:
    """Workers that complete jobs at their pace: a queue, without processes."""

    def __init__(self, scaled: ScaledObject) -> None:
        self._scaled = scaled
        self._autoscaler = Autoscaler(scaled, 0.0)
        self._waiting: list[list[float]] = []
        self._starts: list[float] = []
        self._busy: list[float] = [0.0] * 10
        self.replicas = [0]
        self.oldest_s = 0.0

    def pass_second(self, now_s: int, sent: int) -> None:
        """Send jobs, let workers complete some, and scale."""
        if sent:
            self._waiting.append([now_s, sent])
        capacity = left = float(_PACE * sum(start <= now_s for start in self._starts))
        while self._waiting and left:
            done = min(left, self._waiting[0][1])
            self._waiting[0][1] -= done
            left -= done
            if not self._waiting[0][1]:
                self._waiting.pop(0)
        if self._waiting:
            self.oldest_s = max(self.oldest_s, now_s - self._waiting[0][0])
        self._busy = [*self._busy[1:], (capacity - left) / _PACE]
        backlog = sum(jobs for _, jobs in self._waiting)
        values = {"ready_jobs": backlog, "busy_workers": sum(self._busy) / len(self._busy)}
        chosen = [values[each.name] for each in self._scaled.triggers]
        replicas = self._autoscaler.decide(now_s, self.replicas[-1], chosen)
        self._starts = self._starts[:replicas]
        self._starts += [now_s + _START_S] * (replicas - len(self._starts))
        self.replicas.append(replicas)


def _direction_changes(replicas: Sequence[int]) -> int:
    ups = [after > before for before, after in pairwise(replicas) if after != before]
    return sum(one != other for one, other in pairwise(ups))


def _modelled(scaled: ScaledObject, load: Sequence[int]) -> _FluidQueue:
    model = _FluidQueue(scaled)
    for second, sent in enumerate(load):
        model.pass_second(second, sent)
    return model


def test_the_load_of_a_shop_takes_workers_up_once_and_down_once() -> None:
    model = _modelled(shipped_scaling(), sends(SHOP))
    assert _direction_changes(model.replicas) == 1
    assert (max(model.replicas), model.replicas[-1]) == (10, 0)
    assert model.oldest_s < oldest_target_s()


@pytest.mark.parametrize("jobs_per_s", [0.1, 5, 60, 140, 250, 400, 700, 1200])
def test_a_steady_load_keeps_its_workers(jobs_per_s: float) -> None:
    load = sends([Phase("steady", 1800, jobs_per_s)])
    assert _direction_changes(_modelled(shipped_scaling(), load).replicas) <= 1


def test_by_the_backlog_alone_a_steady_load_starts_and_ends_workers_all_the_time() -> None:
    shipped = shipped_scaling()
    alone = replace(shipped, triggers=shipped.triggers[:1])
    for jobs_per_s in (0.1, 400):
        load = sends([Phase("steady", 3600, jobs_per_s)])
        assert _direction_changes(_modelled(alone, load).replicas) >= 10


def test_jobs_are_sent_at_the_stated_rates() -> None:
    load = sends([Phase("steady", 1000, 7), Phase("fading", 200, 100, halved_each_s=20)])
    assert sum(load[:1000]) == pytest.approx(7000, rel=0.05)
    assert sum(load[1000:]) == pytest.approx(100 * 20 / math.log(2), rel=0.05)
    assert sum(sends(SHOP[1:2])) == pytest.approx(50_000, rel=0.02)
