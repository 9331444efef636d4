"""A short run: real workers in namespaces, started from zero and ended without a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rehearsal.hpa import Policy, ScalingRules
from tests.rehearsal.keda import ScaledObject, Trigger
from tests.rehearsal.run import rehearse
from tests.support.missing import redis_program, skip_without
from tests.support.network.namespaces import Network, NoNamespaces

pytestmark = [pytest.mark.slow, pytest.mark.process]

_TRIGGERS = (Trigger("ready_jobs", 200), Trigger("busy_workers", 0.8))
_POLICY = Policy("Percent", 100, 2)
_SCALED = ScaledObject(
    _TRIGGERS,
    polling_s=1,
    cooldown_s=5,
    max_replicas=3,
    up=ScalingRules(0, (Policy("Pods", 4, 2),)),
    down=ScalingRules(5, (_POLICY,)),
)


def test_workers_are_started_from_zero_and_ended_without_a_loss(tmp_path: Path) -> None:
    redis_program()
    try:
        with Network() as network:
            network.add()
    except NoNamespaces as error:
        skip_without("network namespaces", str(error))
    load = [0, 600, 600, *[20] * 15, *[0] * 45]
    run = rehearse(tmp_path, _SCALED, load, texts_per_s=100)
    assert (run.jobs, run.lost) == (1500, 0)
    replicas = [each.replicas for each in run.samples]
    assert (replicas[0], max(replicas), replicas[-1]) == (0, 3, 0)
    assert len(run.ended) == 3
    assert {each.exit_code for each in run.ended} == {0}, "each ended within its grace period"
    assert run.samples[-1].backlog_jobs == 0
