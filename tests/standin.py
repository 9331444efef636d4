"""A worker with a stand-in for the model: starts in a second, answers from a hash of the text.

`python -m tests.standin` is `sentq-worker` in all but the scoring. `STANDIN_DELAY_S` makes each
round take that long.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence

from sentq.contract import Limits, Outcome, Prediction
from sentq_worker.app import make_worker_app
from sentq_worker.service import LoadScorer
from sentq_worker.settings import WorkerSettings
from tests.engines import ScriptedEngine

__all__ = ["HashScorer", "hash_outcomes", "hash_score", "run"]


def hash_score(text: str) -> float:
    """The one right answer to a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


class HashScorer:
    """Scores like `sentq_worker.scoring.Scorer`, without a model."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()
        self._delay_s = float(os.environ.get("STANDIN_DELAY_S", "0"))

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """One prediction a text."""
        time.sleep(self._delay_s)
        return [hash_outcomes(job) for job in jobs]


def hash_outcomes(texts: Sequence[object]) -> list[Outcome]:
    """The one right answer to a job."""
    return [_prediction(str(text)) for text in texts]


def _prediction(text: str) -> Prediction:
    score = hash_score(text)
    return Prediction(
        label="positive",
        score=score,
        scores={"negative": 1 - score, "positive": score},
        sentiment=2 * score - 1,
        tokens=1,
        windows=1,
    )


def run(load: LoadScorer) -> None:
    """Run a worker with this scorer until it is told to stop."""
    app = make_worker_app(load=load)
    worker = app.Worker(loglevel="INFO", without_mingle=True, without_gossip=True)
    worker.start()
    raise SystemExit(worker.exitcode)


if __name__ == "__main__":
    run(HashScorer)
