"""Real workers roll a second model: a share of the jobs, in the shadow, promoted, rolled back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sentq import Client, Prediction
from sentq.cli import app
from sentq.wire.reports import WorkerReport
from sentq.wire.roll.report import RollStage
from tests.support.models.tiny import make_tiny_model
from tests.support.monitoring.scrape import Scrape, scrape
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.roles.users import ARE_TESTED, as_role

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_TEXTS = tuple(f"It was a good day, number {number}." for number in range(60))


class RolledFleet:
    """Workers of one Redis that can roll a second model, and what an operator does with them."""

    def __init__(self, redis: RedisProcess, start: StartWorker, second: Path) -> None:
        self._url = as_role(redis.url, "operator") if ARE_TESTED else redis.url
        self._broker_url, self._start = redis.url, start
        self._models = json.dumps({"second": {"model": str(second), "load": "on_roll"}})
        self.client = Client(broker_url=self._url)

    def start(self, **environment: str) -> WorkerProcess:
        return self._start(self._broker_url, SENTQ_WORKER_MODELS=self._models, **environment)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["models", *words, "--broker-url", self._url])

    def change(self, *words: str) -> None:
        """Change the roll, and wait until all workers have followed."""
        changed = self.run(*words)
        assert changed.exit_code == 0, changed.output
        eventually(lambda: self.run("status").exit_code == 0, within_s=60, what="the workers")

    def workers(self) -> tuple[WorkerReport, ...]:
        return self.client.models.status().workers


@pytest.fixture
def fleet(
    redis_server: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> Iterable[RolledFleet]:
    second = make_tiny_model(tmp_path / "second", labels=("schlecht", "gut"), seed=7)
    made = RolledFleet(redis_server, start_worker, second)
    yield made
    made.client.close()


def _answers(client: Client, *, model: str | None = None) -> dict[str, str]:
    """Score all texts, each in a job of its own; return the models by the ids of the jobs."""
    jobs = [client.submit(text, model=model) for text in _TEXTS]
    return {job.id: job.result(timeout=60).model for job in jobs}


def test_a_model_takes_a_share_is_promoted_and_rolled_back(
    fleet: RolledFleet, client: Client
) -> None:
    workers = [fleet.start(), fleet.start()]
    assert set(_answers(client).values()) == {"tiny"}
    assert "no live worker has" in str(fleet.run("roll", "thrid").exception)

    fleet.change("roll", "second", "--canary", "40%")
    answers = _answers(client)
    state = fleet.client.models.status().state
    assert answers == {each: "second" if state.takes(each) else "tiny" for each in answers}
    assert set(answers.values()) == {"second", "tiny"}
    assert set(_answers(client, model="main").values()) == {"tiny"}
    assert set(_answers(client, model="second").values()) == {"second"}

    # One that restarts follows before its first job.
    workers.pop().stop()
    workers.pop().stop()
    jobs = [client.submit(text) for text in _TEXTS]
    fleet.start()
    answers = {job.id: job.result(timeout=60).model for job in jobs}
    assert answers == {each: "second" if state.takes(each) else "tiny" for each in answers}

    fleet.change("promote")
    assert set(_answers(client).values()) == {"second"}
    assert set(_answers(client, model="main").values()) == {"second"}
    (report,) = fleet.workers()
    assert (report.model, report.labels, report.models) == ("second", ("gut", "schlecht"), ())

    fleet.change("rollback")
    assert set(_answers(client).values()) == {"tiny"}
    (outcome,) = client.submit("A day.", model="second").result(timeout=60).outcomes
    assert not isinstance(outcome, Prediction)
    assert "it has main" in outcome.message
    assert "nothing to roll back" in str(fleet.run("rollback").exception)


def test_a_worker_that_cannot_load_a_model_says_so_and_goes_on(
    fleet: RolledFleet, client: Client, tmp_path: Path
) -> None:
    port = free_port()
    fleet.start(SENTQ_WORKER_METRICS_PORT=str(port), SENTQ_WORKER_MAX_MODEL_BYTES="150000")
    assert fleet.run("roll", "second", "--canary", "100%").exit_code == 0
    eventually(lambda: fleet.run("status").exit_code == 1, within_s=60, what="a failure")
    shown = fleet.run("status").output
    assert "failed" in shown
    assert "raise SENTQ_WORKER_MAX_MODEL_BYTES" in shown
    assert set(_answers(client).values()) == {"tiny"}
    assert _stages(scrape(f"http://127.0.0.1:{port}")) == {RollStage.FAILED}
    fleet.change("rollback")
    assert _stages(scrape(f"http://127.0.0.1:{port}")) == {RollStage.READY}


def test_a_model_in_the_shadow_answers_nothing_and_is_compared(
    fleet: RolledFleet, client: Client
) -> None:
    port = free_port()
    fleet.start(SENTQ_WORKER_METRICS_PORT=str(port))
    fleet.change("roll", "second", "--canary", "100%", "--shadow")
    assert set(_answers(client).values()) == {"tiny"}
    seen = scrape(f"http://127.0.0.1:{port}")
    # The labels of both models have no name in common.
    expected = {("agreed",): 0, ("differed",): len(_TEXTS), ("failed",): 0}
    assert seen.series("sentq_shadow_texts_total") == expected
    assert seen.value("sentq_shadow_score_difference_sum") == pytest.approx(len(_TEXTS))
    assert seen.value("sentq_shadow_score_difference_count") == len(_TEXTS)


def _stages(seen: Scrape) -> set[str]:
    """Return the stages that a worker is in."""
    stages = seen.series("sentq_roll_state")
    return {stage for (stage,), is_present in stages.items() if is_present}
