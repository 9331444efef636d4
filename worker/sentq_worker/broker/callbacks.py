"""Callbacks of jobs: a message of Celery's, published in the step that stores how a job ended.

So there is no moment between the two in which a worker could be lost. The first end of a job is
stored and published; a second one, of a job that was delivered twice, is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

from celery.exceptions import TaskRevokedError

from sentq.errors import JobExpired
from sentq_worker.broker.protocols import Headers

__all__ = ["NO_CALLBACKS", "CallbackMessage", "JobCallbacks", "JobEnd"]


class CallbackMessage(NamedTuple):
    """A message to publish.

    Attributes:
        queue_list: The list of its queue.
        message: The message, as kombu writes it into Redis.
    """

    queue_list: str
    message: bytes


class JobEnd(NamedTuple):
    """How a job ended, as its callback is told.

    Attributes:
        job_id: The id of the job.
        outcome: The fields of a `JobOutcome`, encrypted if the worker does that; None if it failed.
        error: The class and the message of its error, which quotes no text; None without one.
    """

    job_id: str
    outcome: Mapping[str, object] | None
    error: tuple[str, str] | None = None

    @classmethod
    def of(cls, job_id: str, result: Mapping[str, object] | Exception) -> Self:
        """Return how a job ended with this result."""
        if isinstance(result, Exception):
            return cls(job_id, None, (type(result).__name__, str(result)))
        return cls(job_id, result)

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was cancelled or revoked."""
        return self._is_revoked and not self._has_expired

    def as_argument(self) -> dict[str, object]:
        """Return the argument of a callback that asks for the outcome."""
        error = None
        if self.error is not None:
            code, message = self.error
            code = JobExpired.__name__ if self._is_revoked and self._has_expired else code
            error = {"code": code, "message": message}
        return {"job_id": self.job_id, "outcome": self.outcome, "error": error}

    @property
    def _is_revoked(self) -> bool:
        return self.error is not None and self.error[0] == TaskRevokedError.__name__

    @property
    def _has_expired(self) -> bool:
        return self.error is not None and "expired" in self.error[1]


class JobCallbacks(Protocol):
    """Makes the messages of callbacks."""

    def allows(self, headers: Headers) -> bool:
        """Return whether the callback in the headers of a job can and may be published. Without
        one, it is True."""
        ...

    def message(self, header: object, end: JobEnd) -> CallbackMessage | None:
        """Return the message of a job's callback; None if none is to be published.

        Args:
            header: The callback, as the job's message has it.
            end: How the job ended.
        """
        ...


class _NoCallbacks:
    def allows(self, headers: Headers) -> bool:  # noqa: ARG002 - as above
        return True

    def message(self, header: object, end: JobEnd) -> CallbackMessage | None:  # noqa: ARG002 - as above
        return None


#: Publishes none.
NO_CALLBACKS: JobCallbacks = _NoCallbacks()
