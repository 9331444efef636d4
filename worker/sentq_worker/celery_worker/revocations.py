"""Learning of cancelled jobs from Redis, for a worker that Celery's broadcast does not reach.

The broadcast is faster. But a sender with few rights may not speak to workers, and a worker that
is disconnected for a moment does not receive it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import redis
from celery.worker import state
from kombu.asynchronous import get_event_loop

from sentq.results.cancel import CANCELLED_PAGE, read_cancelled

if TYPE_CHECKING:
    from celery import Celery
    from celery.backends.redis import RedisBackend

__all__ = ["RevocationPoller"]

logger = logging.getLogger(__name__)

#: Jobs that are cancelled now get the time of now, so those of an earlier time are all there.
_SETTLED_S: Final = 2.0


class RevocationPoller:
    """Adds cancelled jobs to Celery's set of revoked ones.

    Args:
        app: The app whose results they are.
        backend: Asks Redis, on connections of the caller's own.
        on_cancelled: Called in the event loop with ids that were added to the set.
    """

    def __init__(
        self, app: Celery, backend: RedisBackend, on_cancelled: Callable[[Iterable[str]], object]
    ) -> None:
        self._app = app
        self._backend = backend
        self._on_cancelled = on_cancelled
        self._since_s = 0.0
        self._skip = 0

    def poll(self) -> None:
        """Ask Redis once. Any thread may call this; the set belongs to the event loop's thread."""
        try:
            page = read_cancelled(
                self._app, since_s=self._since_s, skip=self._skip, backend=self._backend
            )
        except redis.RedisError as error:
            logger.debug("cancelled jobs cannot be read now (%s)", type(error).__name__)
            return
        if page.is_full:
            self._skip += CANCELLED_PAGE
        else:
            self._since_s, self._skip = max(self._since_s, page.now_s - _SETTLED_S), 0
        new = [job_id for job_id in page.ids if job_id not in state.revoked]
        loop = get_event_loop()
        if new and loop is not None:
            loop.call_soon(self._revoke, new)

    def _revoke(self, ids: Sequence[str]) -> None:
        state.revoked.update(ids)
        self._on_cancelled(ids)
