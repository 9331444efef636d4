"""The worker of sentq: takes jobs from the queue, scores them in batches, stores their results.

`celery -A sentq_worker worker` finds the app here. It is made at its first use, because that reads
the settings, and the import of a package must not.

`Scorer` scores texts and tables without a queue (docs/scorer.md). It is imported at its first use,
and imports neither Celery nor Redis.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    from sentq_worker.embedded.scorer import Scorer

__all__ = ["Scorer", "celery"]


def __getattr__(name: str) -> object:
    if name == "celery":
        return _app()
    if name == "Scorer":
        from sentq_worker.embedded.scorer import Scorer

        return Scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _app() -> Celery:
    from sentq_worker.extras import install_advice
    from sentq_worker.garbage import without_garbage_collection

    try:
        with without_garbage_collection():
            from sentq_worker.app import make_worker_app
    except ModuleNotFoundError as error:
        if (advice := install_advice(error)) is None:
            raise
        sys.exit(f"sentq_worker: {advice}. Flower needs none of it: celery -A sentq.flower flower")
    from sentq.flower import protect_flower

    protect_flower()
    return make_worker_app()
