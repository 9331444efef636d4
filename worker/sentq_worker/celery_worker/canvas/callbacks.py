"""Publishes the callbacks of jobs and of batches, checked like all that follows a job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import redis

from sentq.contract import CALLBACK_HEADER
from sentq.errors import LinkRefused
from sentq_worker.broker.batches.callbacks import CallbackRefused, CallbackStore, WaitingCallback
from sentq_worker.broker.callbacks import CallbackMessage, JobEnd
from sentq_worker.broker.message import InvalidHeaders
from sentq_worker.broker.protocols import Headers
from sentq_worker.celery_worker.canvas.callback_messages import Callback, CallbackMessages

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["BatchCallbacks", "CallbacksOfJobs"]

logger = logging.getLogger(__name__)

_NOT_PUBLISHED: Final = "the callback of a complete batch is not published: %s"


class CallbacksOfJobs:
    """The callbacks of jobs, `JobCallbacks`. They are published in the step that stores how the job
    ended.

    Args:
        messages: Makes their messages.
        is_single_redis: Whether messages and results are in one database of one Redis. If not, jobs
            have no callbacks.
    """

    def __init__(self, messages: CallbackMessages, *, is_single_redis: bool) -> None:
        self._messages = messages
        self._is_single_redis = is_single_redis

    def check(self, headers: Headers) -> None:
        """Check the callback in the headers of a job, if it has one.

        Raises:
            InvalidHeaders: It cannot be published. The message says why, and quotes nothing.
            LinkRefused: It may not be published.
        """
        if (header := headers.get(CALLBACK_HEADER)) is not None:
            self._read(header)

    def allows(self, headers: Headers) -> bool:
        """Return whether the callback in the headers of a job can and may be published. Without
        one, it is True."""
        try:
            self.check(headers)
        except (InvalidHeaders, LinkRefused):
            return False
        return True

    def message(self, header: object, end: JobEnd) -> CallbackMessage | None:
        """Return the message of a job's callback; None if none is to be published."""
        if end.is_cancelled:
            return None
        try:
            callback = self._read(header)
            first = end.as_argument() if callback.wants_outcome else end.job_id
            return callback.message(first, follows=end.job_id)
        except (InvalidHeaders, LinkRefused) as error:
            logger.error("the callback of job %s is not published: %s", end.job_id, error)  # noqa: TRY400 - the reason says all
            return None

    def _read(self, header: object) -> Callback:
        if not self._is_single_redis:
            raise LinkRefused("a callback needs messages and results in one database of one Redis")
        return self._messages.read(header)


class BatchCallbacks:
    """Publishes callbacks of complete batches. Any thread may call it.

    Args:
        app: The app of the results.
        messages: Makes the messages of callbacks.
        is_single_redis: Whether messages and results are in one database of one Redis. If not,
            batches have no callbacks.
    """

    def __init__(self, app: Celery, messages: CallbackMessages, *, is_single_redis: bool) -> None:
        self._messages = messages
        self._is_single_redis = is_single_redis
        self._store = CallbackStore(app)

    def publish(self, client: redis.Redis) -> None:
        """Publish the callbacks that are to be published. If Redis does not answer, they are
        published later, or by another worker.

        Args:
            client: A connection to the Redis of the results.
        """
        if not self._is_single_redis:
            return
        try:
            for callback in self._store.waiting(client):
                self._publish(client, callback)
        except redis.RedisError as error:
            logger.debug("callbacks cannot be published now (%s)", type(error).__name__)

    def _publish(self, client: redis.Redis, waiting: WaitingCallback) -> None:
        try:
            callback = self._messages.read(waiting.signature)
            id_ = waiting.batch_id
            message = callback.message(id_, follows=id_, is_child=False)
        except (InvalidHeaders, LinkRefused) as error:
            self._store.refuse(client, waiting)
            logger.error(_NOT_PUBLISHED, error)  # noqa: TRY400 - the reason says all
            return
        try:
            if self._store.publish(client, waiting, message):
                logger.info("a batch is complete: its callback is in its queue")
        except CallbackRefused as error:
            logger.error(_NOT_PUBLISHED, error)  # noqa: TRY400 - the reason says all
