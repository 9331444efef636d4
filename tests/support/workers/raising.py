"""A worker whose scorer quotes the texts that it cannot score: `python -m
tests.support.workers.raising`.

A text with the word `raise` fails its batch. One with the word `thread` also raises in a thread of
its own, where nothing catches it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from sentq.contract import Outcome
from sentq_worker.app import make_worker_app
from tests.support.tracing.spans import SPANS_FILE, write_spans
from tests.support.workers.standin import HashScorer

__all__ = ["main"]


class _RaisingScorer(HashScorer):
    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Return one prediction per text, or raise."""
        texts = " ".join(str(text) for job in jobs for text in job)
        if "thread" in texts:
            threading.Thread(target=_raise_in_thread, name="extra").start()
        if "raise" in texts:
            raise ValueError(texts)
        return super().score(jobs)


def _raise_in_thread() -> None:
    raise RuntimeError("raised in a thread")


def main() -> None:
    """Run it until it is stopped, with a log at its most detailed level."""
    if SPANS_FILE in os.environ:
        write_spans()
    worker = make_worker_app(load=_RaisingScorer).Worker(
        loglevel="DEBUG", without_mingle=True, without_gossip=True
    )
    worker.start()
    raise SystemExit(worker.exitcode)


if __name__ == "__main__":
    main()
