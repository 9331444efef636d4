"""A stand-in worker whose event loop stands still as it receives a certain job.

`python -m tests.support.workers.stuck_loop` is a real worker except for the scoring, until it
receives a job that its sender has named `STUCK`.
"""

from __future__ import annotations

import time
from typing import Any, Final

from celery import signals

from tests.support.workers.standin import HashScorer, run

__all__ = ["STUCK"]

#: The name of the job.
STUCK: Final = "stuck"

#: A worker that does not end by itself can be stopped after this time.
_STILL_S: Final = 60


def _stand_still(request: Any, **_: object) -> None:
    if request.name == STUCK:
        time.sleep(_STILL_S)


if __name__ == "__main__":
    signals.task_received.connect(_stand_still)
    run(HashScorer)
