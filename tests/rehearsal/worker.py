"""A worker whose engine scores a stated number of texts a second, by sleeping.

`python -m tests.rehearsal.worker` is `sentq-worker` except for the scoring. Ten models do not fit
two cores; ten workers that sleep do. `REHEARSAL_TEXTS_PER_S` is the rate.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from sentq.contract import Limits, Outcome
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.workers.standin import hash_outcomes, run

__all__ = ["TEXTS_PER_S", "RatedScorer"]

#: The variable that says the rate.
TEXTS_PER_S = "REHEARSAL_TEXTS_PER_S"


class RatedScorer:
    """Scores a text by its hash, so many texts a second."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()
        self._text_s = 1 / float(os.environ[TEXTS_PER_S])

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Return one prediction per text."""
        time.sleep(self._text_s * sum(map(len, jobs)))
        return [hash_outcomes(job) for job in jobs]


if __name__ == "__main__":
    run(RatedScorer)
