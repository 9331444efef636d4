"""A stand-in worker whose local engine is away as long as a file is there.

`python -m tests.support.workers.engine_away` is a real worker in all but the local scoring;
`AWAY_FILE` names the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sentq.contract import Limits, Outcome
from sentq_worker.engine.base import DeviceLost, DeviceUnavailable
from sentq_worker.settings import WorkerSettings
from tests.support.workers.standin import HashScorer, run

__all__ = ["AwayScorer"]


class AwayScorer(HashScorer):
    """Answers from a hash of the text, as long as it may."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._file = Path(os.environ["AWAY_FILE"])
        if self._file.exists():
            raise DeviceUnavailable("there is no device")

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        if self._file.exists():
            raise DeviceLost("the device is gone")
        return super().score(jobs)


if __name__ == "__main__":
    run(AwayScorer)
