"""Learning of cancelled jobs from Redis, for a worker that Celery's broadcast does not reach.

The broadcast is faster. But a sender with few rights may not speak to workers, and a worker that
is disconnected for a moment does not receive it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import redis
from celery.worker import state
from kombu.asynchronous import get_event_loop

from sentq.results.cancel import cancelled_ids

if TYPE_CHECKING:
    from celery import Celery
    from celery.backends.redis import RedisBackend

__all__ = ["RevocationPoller"]

logger = logging.getLogger(__name__)


class RevocationPoller:
    """Adds cancelled jobs to Celery's set of revoked ones.

    Args:
        app: The app whose results they are.
        backend: Asks Redis, on connections of the caller's own.
    """

    def __init__(self, app: Celery, backend: RedisBackend) -> None:
        self._app = app
        self._backend = backend
        self._since_s = 0.0

    def poll(self) -> None:
        """Ask Redis once. Any thread may call this; the set belongs to the event loop's thread."""
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
