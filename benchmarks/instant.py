"""An engine that answers at once, in a worker of ours and in a stock Celery app.

    python -m benchmarks.instant                          our worker
    celery -A benchmarks.instant worker -P solo           the stock one

What is left to measure is the way there and back. Both give the same answer to every text.
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

_ANSWER: Final = Prediction(
    label="positive",
    score=0.9,
    scores={"negative": 0.1, "positive": 0.9},
    sentiment=0.8,
    tokens=20,
    windows=1,
)


class InstantScorer:
    """Scores like `sentq_worker.scoring.scorer.Scorer`, in no time."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """The answer, once a text."""
        return [[_ANSWER] * len(job) for job in jobs]


app = Celery(
    "stock", broker=os.environ.get("SENTQ_BROKER_URL"), backend=os.environ.get("SENTQ_BROKER_URL")
)
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


def score(texts: list[str]) -> dict[str, Any]:
    """The same, as somebody would write it with Celery alone."""
    outcome = JobOutcome(
        outcomes=[_ANSWER] * len(texts),
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
