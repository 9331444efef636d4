"""The worker of sentq: takes jobs from the queue, scores them in batches, stores their results.

`celery -A sentq_worker worker` finds the app here. It is made at its first use, because that reads
the settings, and the import of a package must not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["celery"]


def __getattr__(name: str) -> Celery:
    if name == "celery":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _app() -> Celery:
    from sentq_worker.app import make_worker_app

    return make_worker_app()
