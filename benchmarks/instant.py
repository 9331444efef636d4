"""An engine that returns at once, in a sentq worker and in a stock Celery app.

    python -m benchmarks.instant                          the sentq worker
    celery -A benchmarks.instant worker -P solo           the stock worker

Only the path through the queue and back is left to measure. Both give each text the same outcome.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery

from sentq.contract import JobOutcome, Limits, Outcome, Prediction
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.workers.standin import run

__all__ = ["InstantScorer", "app"]

_OUTCOME: Final = Prediction(
    label="positive",
    score=0.9,
    scores={"negative": 0.1, "positive": 0.9},
    sentiment=0.8,
    tokens=20,
    windows=1,
)


class InstantScorer:
    """A scorer like `sentq_worker.scoring.scorer.EngineScorer` that takes no time."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Return the same outcome for each text."""
        return [[_OUTCOME] * len(job) for job in jobs]


app = Celery(
    "stock", broker=os.environ.get("SENTQ_BROKER_URL"), backend=os.environ.get("SENTQ_BROKER_URL")
)
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


def score(texts: list[str]) -> dict[str, Any]:
    """Return the same outcome, as a task of a plain Celery application would."""
    outcome = JobOutcome(
        outcomes=[_OUTCOME] * len(texts),
        model="stock",
        revision=None,
        backend="stock",
        dtype="none",
        attempts=1,
        queued_ms=None,
        inference_ms=0,
    )
    return outcome.model_dump(mode="json")


app.task(name="sentq.score")(score)


if __name__ == "__main__":
    run(InstantScorer)
