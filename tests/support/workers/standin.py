"""A worker with a stand-in for the model: starts in a second, scores a text by its hash.

`python -m tests.support.workers.standin` is `sentq-worker` except for the scoring.
`STANDIN_DELAY_S` is the duration of each batch. `STANDIN_MODEL` is the model that the worker
reports, and its revision: `name@revision`. `STANDIN_RECORD` names a file to which each batch is
appended at its start: the monotonic time and the first word of each job. A file of that name with
the suffix `.kill-before` or `.kill-after` kills the worker before or after it scores a batch; the
worker removes the file first.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sentq.contract import JobOutcome, Limits, Outcome, Prediction
from sentq_worker.app import make_worker_app
from sentq_worker.providers.loading import LoadScorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.models.providers import prediction

__all__ = [
    "ExecutionRecord",
    "HashScorer",
    "has_hash_scores",
    "hash_outcomes",
    "hash_score",
    "run",
]


def hash_score(text: str) -> float:
    """Return the correct score of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


class HashScorer:
    """Scores like `sentq_worker.scoring.scorer.EngineScorer`, without a model."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()
        if named := os.environ.get("STANDIN_MODEL"):
            model, _, revision = named.partition("@")
            self.engine.info = replace(self.engine.info, model=model, revision=revision or None)
        self._delay_s = float(os.environ.get("STANDIN_DELAY_S", "0"))
        self._record = ExecutionRecord.from_environment()

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Return one prediction per text."""
        self._record.begin(jobs)
        time.sleep(self._delay_s)
        outcomes = [hash_outcomes(job) for job in jobs]
        self._record.end()
        return outcomes


class ExecutionRecord:
    """The batches that a worker executed, in a file, and the points at which it kills itself."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._fd = None if file is None else os.open(file, flags, 0o644)

    @classmethod
    def from_environment(cls) -> ExecutionRecord:
        """Return the record that `STANDIN_RECORD` names; without it, one that records nothing."""
        name = os.environ.get("STANDIN_RECORD")
        return cls(Path(name) if name else None)

    def begin(self, jobs: Iterable[Sequence[object]]) -> None:
        """Append a batch at its start."""
        if self._fd is not None:
            self._kill_if_requested("before")
            words = " ".join(str(job[0]).split(" ", 1)[0] for job in jobs)
            os.write(self._fd, f"{time.monotonic():.6f} {words}\n".encode())

    def end(self) -> None:
        """Handle the end of scoring, before the results are stored."""
        self._kill_if_requested("after")

    def _kill_if_requested(self, point: str) -> None:
        if self._file is None:
            return
        kill_file = self._file.with_name(f"{self._file.name}.kill-{point}")
        if kill_file.exists():
            kill_file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def hash_outcomes(texts: Sequence[object]) -> list[Outcome]:
    """Return the correct outcomes of a job."""
    return [prediction(hash_score(str(text))) for text in texts]


def has_hash_scores(outcome: object, *texts: str) -> bool:
    """Whether a job's outcome, or its JSON document, has the correct score of each text."""
    rows = JobOutcome.model_validate(outcome).outcomes
    scores = [row.score for row in rows if isinstance(row, Prediction)]
    return scores == [hash_score(text) for text in texts]


def run(load: LoadScorer) -> None:
    """Run a worker with this scorer until it is stopped."""
    app = make_worker_app(load=load)
    worker = app.Worker(loglevel="INFO", without_mingle=True, without_gossip=True)
    worker.start()
    raise SystemExit(worker.exitcode)


def main() -> None:
    """Run a worker that scores a text by its hash."""
    run(HashScorer)


if __name__ == "__main__":
    main()
