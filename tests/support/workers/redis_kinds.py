"""A stand-in worker for Celery's own command, and stock apps for Redis servers that need
transport options beyond a URL.

`celery -A tests.support.workers.redis_kinds worker`
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from sentq_worker.app import make_worker_app
from tests.support.workers.standin import HashScorer

__all__ = ["with_options"]


def with_options(app: Celery, options: dict[str, Any]) -> Celery:
    """Set these transport options of a stock app, for jobs and for results."""
    for name in ("broker_transport_options", "result_backend_transport_options"):
        app.conf[name] = dict(app.conf[name]) | options
    return app


if "SENTQ_BROKER_URL" in os.environ:  # This process is the worker, not the test.
    app = make_worker_app(load=HashScorer)
