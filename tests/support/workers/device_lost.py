"""A stand-in worker whose device is lost as soon as somebody asks for it.

`python -m tests.support.workers.device_lost` is a real worker in all but the scoring, until it
meets `LOSES_DEVICE`.
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

#: A text that a kernel chokes on.
LOSES_DEVICE: Final = "CANARY the device goes"


class LostEngine(ScriptedEngine):
    """Had a device."""

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        self.batches.append(list(batch))
        raise DeviceLost("cuda:0 failed with AcceleratorError")


class LostScorer(HashScorer):
    """Answers from a hash of the text, as long as it has a device."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._batcher = Batcher(LostEngine(), batch_tokens=64)

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        if any(LOSES_DEVICE in job for job in jobs):
            self._batcher.predict([window(1), window(2)])
        return super().score(jobs)


if __name__ == "__main__":
    run(LostScorer)
