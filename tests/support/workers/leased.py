"""A stand-in worker for tests of leases: it notes what it executes, and may be slow, or die.

`python -m tests.support.workers.leased` is `sentq-worker` in all but the scoring. It notes each
text in the list `tests.executed` of its Redis, as the engine gets it. A text `slow:<s>` takes that
long, `once:<s>` does when it is executed first, and `poison` kills the worker. `CLOCK_OFFSET_S`
sets the clock that it goes by.
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
    """The texts that went into an engine, in order."""
    return [raw.decode() for raw in client.lrange(EXECUTED_KEY, 0, -1)]  # type: ignore[union-attr]


def _set_clock(offset_s: float) -> None:
    right = time.time
    time.time = lambda: right() + offset_s


def _run() -> None:
    # Before anybody can keep the right one for himself.
    _set_clock(float(os.environ.get("CLOCK_OFFSET_S", "0")))
    from sentq.contract import Limits, Outcome
    from sentq_worker.settings import WorkerSettings
    from tests.support.workers.standin import HashScorer, run

    class LeasedScorer(HashScorer):
        """Answers from a hash of the text, unless the text says something else."""

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
