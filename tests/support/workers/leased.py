"""A stand-in worker for tests of leases, which records its texts, and can be slow or die.

`python -m tests.support.workers.leased` is `sentq-worker` except for the scoring. It appends each
text to the list `tests.executed` of its Redis when the engine receives it. The text `slow:<s>`
takes that many seconds, `once:<s>` takes them at its first execution only, and `poison` kills the
worker. `CLOCK_OFFSET_S` changes the worker's clock by this offset.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

import redis

__all__ = ["EXECUTED_KEY", "POISON", "executed"]

EXECUTED_KEY: Final = "tests.executed"
POISON: Final = "poison"


def executed(client: redis.Redis) -> list[str]:
    """Return the texts that engines received, in order."""
    return [raw.decode() for raw in client.lrange(EXECUTED_KEY, 0, -1)]  # type: ignore[union-attr]


def _set_clock(offset_s: float) -> None:
    true_time = time.time
    time.time = lambda: true_time() + offset_s


def _run() -> None:
    # Before any import binds `time.time`.
    _set_clock(float(os.environ.get("CLOCK_OFFSET_S", "0")))
    from sentq.contract import Limits, Outcome
    from sentq_worker.settings import WorkerSettings
    from tests.support.workers.standin import HashScorer, run

    class LeasedScorer(HashScorer):
        """Score a text by its hash, unless the text says something else."""

        def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
            super().__init__(settings, limits)
            url = os.environ["EXECUTED_URL"]
            self._redis = redis.Redis.from_url(url)

        def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
            texts = [str(text) for job in jobs for text in job]
            self._redis.rpush(EXECUTED_KEY, *texts)
            for text in texts:
                kind, _, rest = text.partition(":")
                if kind == "slow" or (kind == "once" and executed(self._redis).count(text) == 1):
                    time.sleep(float(rest))
                elif kind == POISON:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().score(jobs)

    run(LeasedScorer)


if __name__ == "__main__":
    _run()
