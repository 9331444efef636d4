"""A worker with a stand-in for the model: starts in a second, answers from a hash of the text.

`python -m tests.support.workers.standin` is `sentq-worker` in all but the scoring.
`STANDIN_DELAY_S` makes each round take that long. `STANDIN_RECORD` names a file to which each round
is added as it begins: the monotonic time and the first word of each job. Where a file of that name
and `.kill-before` or `.kill-after` is found, the worker removes it and kills itself at that point
of a round.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from sentq.contract import Limits, Outcome
from sentq_worker.app import make_worker_app
from sentq_worker.providers.loading import LoadScorer
from sentq_worker.settings import WorkerSettings
from tests.support.models.engines import ScriptedEngine
from tests.support.models.providers import prediction

__all__ = ["HashScorer", "Record", "hash_outcomes", "hash_score", "run"]


def hash_score(text: str) -> float:
    """The one right answer to a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


class HashScorer:
    """Scores like `sentq_worker.scoring.scorer.Scorer`, without a model."""

    def __init__(self, _settings: WorkerSettings, _limits: Limits) -> None:
        self.engine = ScriptedEngine()
        self._delay_s = float(os.environ.get("STANDIN_DELAY_S", "0"))
        self._record = Record.named()

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """One prediction a text."""
        self._record.begin(jobs)
        time.sleep(self._delay_s)
        outcomes = [hash_outcomes(job) for job in jobs]
        self._record.end()
        return outcomes


class Record:
    """What a worker executed, in a file that outlives it; and where it is to kill itself."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._fd = None if file is None else os.open(file, flags, 0o644)

    @classmethod
    def named(cls) -> Record:
        """The record that the environment names, if it does."""
        name = os.environ.get("STANDIN_RECORD")
        return cls(Path(name) if name else None)

    def begin(self, jobs: Iterable[Sequence[object]]) -> None:
        """Add a round."""
        if self._fd is not None:
            self._die_if_told("before")
            words = " ".join(str(job[0]).split(" ", 1)[0] for job in jobs)
            os.write(self._fd, f"{time.monotonic():.6f} {words}\n".encode())

    def end(self) -> None:
        """The round is scored, and nobody was told yet."""
        self._die_if_told("after")

    def _die_if_told(self, point: str) -> None:
        if self._file is None:
            return
        told = self._file.with_name(f"{self._file.name}.kill-{point}")
        if told.exists():
            told.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def hash_outcomes(texts: Sequence[object]) -> list[Outcome]:
    """The one right answer to a job."""
    return [prediction(hash_score(str(text))) for text in texts]


def run(load: LoadScorer) -> None:
    """Run a worker with this scorer until it is told to stop."""
    app = make_worker_app(load=load)
    worker = app.Worker(loglevel="INFO", without_mingle=True, without_gossip=True)
    worker.start()
    raise SystemExit(worker.exitcode)


def main() -> None:
    """Run a worker that answers from a hash of the text."""
    run(HashScorer)


if __name__ == "__main__":
    main()
