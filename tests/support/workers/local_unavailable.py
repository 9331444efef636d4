"""A stand-in worker whose local provider is unavailable while a file exists.

`python -m tests.support.workers.local_unavailable` is a real worker except for the local scoring;
`UNAVAILABLE_FILE` names the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sentq.contract import Limits, Outcome
from sentq_worker.engine.base import DeviceLost, DeviceUnavailable
from sentq_worker.settings import WorkerSettings
from tests.support.workers.standin import HashScorer, run

__all__ = ["InterruptibleScorer"]


class InterruptibleScorer(HashScorer):
    """Score a text by its hash, unless the file exists."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._file = Path(os.environ["UNAVAILABLE_FILE"])
        if self._file.exists():
            raise DeviceUnavailable("there is no device")

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        if self._file.exists():
            raise DeviceLost("the device is gone")
        return super().score(jobs)


if __name__ == "__main__":
    run(InterruptibleScorer)
