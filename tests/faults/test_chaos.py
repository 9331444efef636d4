"""Random faults of workers, Redis and the network: each accepted job gets one correct result.

`CHAOS_SEED` selects another run. `make chaos` runs the same with fifty times as many jobs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentq import Settings
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.chaos.audit import audit, is_hashed, settle
from tests.chaos.recovery import after_half_open_s, after_kill_s, after_redis_s
from tests.chaos.run import ChaosRun, Plan, run
from tests.chaos.site import SENTQ, ChaosSite, WorkerKind
from tests.support.processes import eventually, worker_environment

#: A run waits as long as it needs on a slow machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = int(os.environ.get("CHAOS_SEED", "1"))

#: Long enough that most kills and cuts occur while a batch is scored.
BATCH_S = 0.05

WORKERS = replace(SENTQ, environment={"STANDIN_DELAY_S": str(BATCH_S)})


def _check(run: ChaosRun) -> None:
    """Check that no job is lost or wrong; a failure shows the plan, which has the seed."""
    found = run.audit
    assert found.accepted == run.plan.jobs, run.figures
    assert found.answered == found.accepted, run.figures
    assert (found.lost, found.failed, found.dead_letters) == (0, 0, 0), run.figures
    assert (found.wrong, found.answered_twice) == (0, 0), run.figures
    assert found.left_in_queues == 0, run.figures
    assert not found.unexpected_exits, "\n".join(found.unexpected_exits)
    assert set(run.exit_codes) == {0}, run.figures


def test_no_job_is_lost_when_workers_redis_and_network_fail(tmp_path: Path) -> None:
    plan = Plan(
        seed=SEED, jobs=20_000, duration_s=50, kills=20, redis_kills=6, network_faults=20, terms=4
    )
    result = run(plan, WORKERS, tmp_path)
    _check(result)
    found = result.audit
    assert found.faults["kill"] == 20, result.figures
    assert found.executed_twice_per_kill <= found.largest_round, result.figures
    assert found.executed_twice.get("term", 0) == 0, result.figures
    assert found.executed_twice.get("nothing", 0) == 0, result.figures


@pytest.mark.long
def test_no_job_is_lost_with_a_real_model(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = worker_environment("", tiny_model)
    monkeypatch.setenv("SENTQ_WORKER_MODEL", str(tiny_model))
    plan = Plan(
        seed=SEED, jobs=300, duration_s=12, kills=2, redis_kills=1, network_faults=4, terms=1
    )
    del environment["SENTQ_BROKER_URL"]
    worker_kind = WorkerKind(
        "model", "sentq_worker.cli", environment, ("sentq_worker.inference.model",)
    )
    _check(run(replace(plan, workers=2), worker_kind, tmp_path, is_right=_equals_local_scores()))


def _equals_local_scores() -> Callable[[str, Mapping[str, Any]], bool]:
    """Return a check whether an outcome has the scores of the text alone, without faults."""
    scorer = load_scorer(WorkerSettings.load(), Settings().limits)

    def is_right(text: str, outcome: Mapping[str, Any]) -> bool:
        ((alone,),) = scorer.score([[text]])
        return bool(outcome["scores"] == pytest.approx(alone.model_dump()["scores"], abs=1e-4))

    return is_right


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChaosSite]:
    """A Redis and workers without a schedule of faults."""
    with ChaosSite(
        tmp_path, WORKERS, workers=request.param, producers=[], visibility_timeout_s=5
    ) as site:
        yield site


@pytest.mark.parametrize("site", [2], indirect=True)
def test_jobs_of_a_killed_worker_finish_within_visibility_timeout_plus_5_seconds(
    site: ChaosSite,
) -> None:
    assert after_kill_s(site) <= site.visibility_timeout_s + 5


@pytest.mark.parametrize("site", [1], indirect=True)
def test_a_half_open_connection_is_closed_within_twenty_seconds(site: ChaosSite) -> None:
    assert after_half_open_s(site) <= 20


@pytest.mark.parametrize("site", [1], indirect=True)
def test_work_continues_within_ten_seconds_of_a_restart_of_redis(site: ChaosSite) -> None:
    assert after_redis_s(site) <= 10


def test_the_audit_detects_lost_wrong_and_duplicate_outcomes(tmp_path: Path) -> None:
    order = {"name": "p", "jobs": 20, "duration_s": 0.0, "seed": 1, "has_keys": True}
    with ChaosSite(tmp_path, SENTQ, workers=1, producers=[order], visibility_timeout_s=5) as site:
        site.start_producers()
        assert site.producers[0].wait(60) == 0
        settle(site, within_s=60, quiet_s=0.5)
        assert audit(site, [], is_right=is_hashed).answered == 20
        lost, wrong, duplicate, *_ = (
            f"celery-task-meta-{job_id}" for job_id in site.published.at_s
        )
        with site.redis.client() as redis:
            redis.delete(lost)
            redis.set(wrong, str(redis.get(wrong), "utf-8").replace('"score":', '"score":1'))
            redis.publish(duplicate, redis.get(duplicate))
        eventually(lambda: site.published.duplicates, what="the second published result")
        found = audit(site, [], is_right=is_hashed)
    assert (found.lost, found.wrong, found.answered) == (1, 1, 19)
    # A document that changed after it was published counts as a second result too.
    assert found.answered_twice == 2
