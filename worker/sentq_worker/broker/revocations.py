"""Hearing of jobs that were cancelled, whether or not anybody could tell us.

Celery's broadcast is faster. But a sender with few rights may not speak to workers, and a worker
that is away for a moment does not hear.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from celery.worker import state
from kombu.asynchronous import get_event_loop

from sentq.results.cancel import cancelled_ids

__all__ = ["RevocationPoller"]

logger = logging.getLogger(__name__)


class RevocationPoller:
    """Looks which jobs were cancelled, and passes them on to Celery's set of revoked ones.

    Args:
        app: Whose results they are.
        backend: Where to ask, on connections of the caller's own.
    """

    def __init__(self, app: Any, backend: Any) -> None:
        self._app = app
        self._backend = backend
        self._since_s = 0.0

    def look(self) -> None:
        """Look once. From any thread; the set belongs to the event loop's."""
        try:
            found = cancelled_ids(self._app, since_s=self._since_s, backend=self._backend)
        except redis.RedisError as error:
            logger.debug("cancelled jobs cannot be read now (%s)", type(error).__name__)
            return
        self._since_s = max(found.values(), default=self._since_s)
        new = [job_id for job_id in found if job_id not in state.revoked]
        loop = get_event_loop()
        if new and loop is not None:
            loop.call_soon(state.revoked.update, new)
