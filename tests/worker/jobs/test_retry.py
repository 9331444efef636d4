"""The backoff while the engine is unavailable."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state

from sentq import Settings
from sentq.contract import Limits, Outcome
from sentq_worker.app import make_worker_app
from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable, Window
from sentq_worker.jobs.retry import EngineBackoff
from sentq_worker.scoring.batcher import Batcher
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine, window
from tests.support.workers.standin import HashScorer


def test_a_delay_doubles_up_to_its_limit_with_up_to_half_of_jitter() -> None:
    for attempt, full_s in [(1, 2), (2, 4), (4, 16), (5, 30), (10_000, 30)]:
        delays = [jittered_s(attempt, least_s=2, most_s=30) for _ in range(200)]
        assert full_s / 2 <= min(delays) < full_s * 0.6
        assert full_s * 0.9 < max(delays) <= full_s


def test_backoff_lasts_retry_after_s_or_between_1_and_30_seconds() -> None:
    backoff = EngineBackoff()
    assert backoff.remaining_s == 0
    backoff.begin(EngineUnavailable("unavailable", retry_after_s=120))
    assert 119 < backoff.remaining_s <= 120
    backoff.end()
    assert backoff.remaining_s == 0
    backoff.begin(EngineUnavailable("unavailable"))
    assert 0.9 < backoff.remaining_s <= 2
    for _ in range(10):
        backoff.begin(EngineUnavailable("unavailable"))
    assert 14 < backoff.remaining_s <= 30


def test_each_change_of_availability_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    backoff = EngineBackoff()
    with caplog.at_level(logging.INFO, "sentq_worker.jobs.retry"):
        for _ in range(2):
            for _ in range(3):
                backoff.begin(EngineUnavailable("no credits", retry_after_s=1))
            for _ in range(3):
                backoff.end()
    first, last = "jobs wait for it: no credits", "available again"
    assert len(caplog.messages) == 4
    for message, part in zip(caplog.messages, [first, last] * 2, strict=True):
        assert part in message


def test_a_batch_is_not_halved_when_the_engine_is_unavailable() -> None:
    class Unavailable(ScriptedEngine):
        def predict(self, batch: Sequence[Window]) -> list[list[float]]:
            super().predict(batch)
            raise EngineUnavailable("unavailable")

    engine = Unavailable()
    with pytest.raises(EngineUnavailable):
        Batcher(engine, batch_tokens=64).predict([window(1), window(2), window(3)])
    assert len(engine.batches) == 1


class _UnavailableTwice(HashScorer):
    """Is unavailable for the first two batches."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self.batches = 0

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        self.batches += 1
        if self.batches <= 2:
            raise EngineUnavailable("unavailable", retry_after_s=0.01)
        return super().score(jobs)


def test_a_task_without_an_event_loop_waits_for_the_engine(settings: Settings) -> None:
    app = make_worker_app(settings, WorkerSettings(), load=_UnavailableTwice)
    task = app.tasks["sentq.score"]
    task.runtime.executor.start()
    try:
        assert task.apply(args=[["a text"]]).get()["attempts"] == 3
    finally:
        task.runtime.executor.stop()


def test_a_blocking_wait_ends_when_the_worker_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    backoff = EngineBackoff()
    backoff.begin(EngineUnavailable("unavailable", retry_after_s=600))
    started = time.monotonic()
    with pytest.raises(WorkerShutdown):
        backoff.sleep(state.maybe_shutdown)
    assert time.monotonic() - started < 1
