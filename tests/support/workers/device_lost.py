"""A stand-in worker that loses its device at a certain text.

`python -m tests.support.workers.device_lost` is a real worker except for the scoring, until it
gets the text `LOSES_DEVICE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sentq.contract import Limits, Outcome
from sentq_worker.engine.base import DeviceLost, Window
from sentq_worker.scoring.batcher import Batcher
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine, window
from tests.support.workers.standin import HashScorer, run

__all__ = ["LOSES_DEVICE", "LostEngine"]

#: A text at which a kernel fails.
LOSES_DEVICE: Final = "CANARY the device goes"


class LostEngine(ScriptedEngine):
    """Raises `DeviceLost` for each batch."""

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        self.batches.append(list(batch))
        raise DeviceLost("cuda:0 failed with AcceleratorError")


class LostScorer(HashScorer):
    """Score a text by its hash, until the device is lost."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._batcher = Batcher(LostEngine(), batch_tokens=64)

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        if any(LOSES_DEVICE in job for job in jobs):
            self._batcher.predict([window(1), window(2)])
        return super().score(jobs)


if __name__ == "__main__":
    run(LostScorer)
