"""How the message of a job is acknowledged: one ack handle for each of three kinds of delivery.

    RedisAck         taken by our channel; its tag is acknowledged in the step that stores results
    MessageAck       a plain job that came as a message of kombu's, such as from another broker
    CeleryHandback   any other job: scored with the plain ones, and finished by Celery

A job that is handed back waits in the dispatcher like any other. When its result is there, Celery
runs the task, whose body finds the result and returns at once. So nothing waits in Celery's loop,
and results, chains, callbacks and signals are all Celery's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from sentq_worker.broker.protocols import DeliveredMessage
from sentq_worker.jobs.outcomes import JobResult

__all__ = ["AckHandle", "CeleryHandback", "MessageAck", "PreparedResults", "RedisAck"]

logger = logging.getLogger(__name__)

#: The results of jobs whose task is about to run, by job id.
PreparedResults = dict[str, JobResult]


class AckHandle(Protocol):
    """What acknowledges the message of one job."""

    @property
    def is_plain(self) -> bool:
        """Whether this worker completes the job itself, and not Celery."""
        ...

    @property
    def tag(self) -> str | None:
        """The tag under which the message is recorded in Redis; None on another broker."""
        ...

    @property
    def batch_tag(self) -> str | None:
        """The tag, if the message is acknowledged by it, together with others, on any
        connection; else None."""
        ...

    def is_ended(self) -> bool:
        """Whether Celery has ended the job: it was revoked there, or has expired."""
        ...

    def acknowledge(self, connection: int) -> None:
        """Acknowledge the message, if `batch_tag` does not, and Celery does not.

        Args:
            connection: The number of the connection that there is now. A message can be
                acknowledged only on the connection that delivered it.
        """
        ...


class RedisAck:
    """Acknowledges by tag. One is made for each plain job, thousands a second."""

    __slots__ = ("batch_tag",)
    is_plain: Final = True

    def __init__(self, tag: str) -> None:
        self.batch_tag = tag

    @property
    def tag(self) -> str:
        """The tag under which the message is recorded in Redis."""
        return self.batch_tag

    def is_ended(self) -> bool:
        """Return False: Celery does not know the job."""
        return False

    def acknowledge(self, connection: int) -> None:
        """Do nothing: the step that stores the result acknowledges the tag."""


class MessageAck:
    """Acknowledges through kombu.

    Args:
        message: The message of a plain job.
        connection: The number of the connection that delivered it.
        connection_errors: What kombu raises when that connection is lost.
    """

    __slots__ = ("_connection", "_connection_errors", "_message")
    is_plain: Final = True
    tag: Final = None
    batch_tag: Final = None

    def __init__(
        self,
        message: DeliveredMessage,
        connection: int,
        connection_errors: tuple[type[BaseException], ...],
    ) -> None:
        self._message = message
        self._connection = connection
        self._connection_errors = connection_errors

    def is_ended(self) -> bool:
        """Return False: Celery does not know the job."""
        return False

    def acknowledge(self, connection: int) -> None:
        """Acknowledge the message, if the connection that delivered it is still there."""
        if connection == self._connection:
            self._message.ack_log_error(logger, self._connection_errors)


class CeleryHandback:
    """Lets Celery finish, and acknowledge, a job.

    Args:
        job_id: The job's id.
        tag: The tag under which its message is recorded in Redis; None on another broker.
        connection: The number of the connection that delivered it.
        is_ended: Tells whether the job was revoked, or has expired; if so Celery has ended it.
        run: Lets Celery run the job's task.
        prepared: Where the task's body looks for the result.
    """

    __slots__ = ("_connection", "_job_id", "_prepared", "_run", "is_ended", "tag")
    is_plain: Final = False
    batch_tag: Final = None

    def __init__(
        self,
        job_id: str,
        *,
        tag: str | None,
        connection: int,
        is_ended: Callable[[], bool],
        run: Callable[[], object],
        prepared: PreparedResults,
    ) -> None:
        self._job_id = job_id
        self._connection = connection
        self._run = run
        self._prepared = prepared
        self.tag = tag
        self.is_ended = is_ended

    def acknowledge(self, connection: int) -> None:
        """Do nothing: Celery acknowledges the message."""

    def resume(self, result: JobResult, connection: int) -> None:
        """Let Celery finish the job with this result.

        Does nothing if the connection that delivered the job is gone: the broker delivers the
        job again.
        """
        if connection != self._connection:
            return
        self._prepared[self._job_id] = result
        try:
            self._run()
        finally:
            self._prepared.pop(self._job_id, None)
