"""The errors of sentq as HTTP responses: problem details of RFC 9457. Knows no framework.

    error ── problem_of ──▶ Problem ──▶ status, headers, body of a response

Each class of error has a type of its own, a URN. What is in a response depends on whose error it
is. For errors of the caller (4xx) `detail` is the message of the error, which names the limit and
quotes no text. Other messages name hosts and queues, so `detail` is then a fixed sentence, and
`log_problem` writes the message to the log.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import orjson

from sentq import errors
from sentq.errors import BatchError, JobError, JobFailed, Overloaded, SentqError, WaitTimeout

__all__ = [
    "MEDIA_TYPE",
    "PROBLEM_TYPES",
    "Problem",
    "ProblemType",
    "log_problem",
    "problem_of",
    "type_of",
]

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_URN: Final = "urn:sentq:problem:"

#: When to try again if the error does not say, in seconds.
_RETRY_AFTER_S: Final = 10

_TRY_AGAIN: Final = "Try again after the time in Retry-After."
_SEND_AGAIN: Final = f"Nothing was accepted. {_TRY_AGAIN}"
_WORKER_FAILED: Final = "Nothing is wrong with the request. It may be sent again."
_MISCONFIGURED: Final = "This is an error of the service. Its log has the reason."


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What the problems of a class of errors have in common.

    Attributes:
        status: The HTTP status.
        title: What the type means, for people.
        detail: The detail of every problem; None if it is the message of the error.
    """

    status: HTTPStatus
    title: str
    detail: str | None = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may succeed later, so that responses have `Retry-After`."""
        return self.status is HTTPStatus.SERVICE_UNAVAILABLE


def _of_caller(title: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> ProblemType:
    return ProblemType(status, title)


def _misconfigured(title: str) -> ProblemType:
    return ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, title, _MISCONFIGURED)


def _unavailable(title: str, detail: str) -> ProblemType:
    return ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, title, detail)


def _worker_failed(title: str) -> ProblemType:
    return ProblemType(HTTPStatus.BAD_GATEWAY, title, _WORKER_FAILED)


#: The type of each class. docs/problems.md explains them; a test compares both.
PROBLEM_TYPES: Final[Mapping[type[SentqError], ProblemType]] = {
    SentqError: _misconfigured("The service failed"),
    errors.SettingsError: _misconfigured("The service is not configured correctly"),
    # The request is wrong.
    errors.InvalidInput: _of_caller("The texts or options are not valid"),
    errors.EmptyJob: _of_caller("There is no text"),
    errors.KeyConflict: _of_caller("The idempotency key was used for other texts"),
    errors.NotAString: _of_caller("A text is not a string"),
    errors.LoneSurrogate: _of_caller("A text is not valid Unicode"),
    errors.OverLimit: _of_caller("A limit is exceeded"),
    errors.TooManyTexts: _of_caller("There are too many texts"),
    errors.TextTooLong: _of_caller("A text has too many characters"),
    errors.MessageTooLarge: _of_caller("The texts have too many bytes"),
    errors.TooManyTokens: _of_caller("The texts have too many tokens"),
    errors.BatchTooLarge: _of_caller("The batch has too many jobs"),
    errors.BatchClosed: _of_caller("The batch takes no more jobs", HTTPStatus.CONFLICT),
    errors.WebhookRefused: _of_caller("The callback URL is not allowed"),
    errors.EtaTooFar: _of_caller("The time is too far in the future"),
    # These are invalid for the worker, because of the settings of the application.
    errors.LinkRefused: _misconfigured("What follows the job is not allowed"),
    errors.NotEncrypted: _misconfigured("The texts are not encrypted"),
    # There is no capacity now.
    errors.RedisUnavailable: _unavailable("Redis is not available", _TRY_AGAIN),
    errors.BrokerUnavailable: _unavailable("The broker is not available", _SEND_AGAIN),
    errors.ResultsUnavailable: _unavailable(
        "Results cannot be read", f"Jobs are not affected. {_TRY_AGAIN}"
    ),
    errors.Overloaded: _unavailable("The service is overloaded", _SEND_AGAIN),
    errors.QueueFull: _unavailable("The queue is full", _SEND_AGAIN),
    errors.RedisFull: _unavailable("The broker has no free memory", _SEND_AGAIN),
    errors.WebhooksFull: _unavailable("Too many webhooks wait", _SEND_AGAIN),
    errors.ScheduleFull: _unavailable("Too many jobs are scheduled", _SEND_AGAIN),
    # A worker failed.
    errors.WorkerError: _worker_failed("A worker failed"),
    errors.ScoringFailed: _worker_failed("The texts could not be scored"),
    errors.WorkerLost: _worker_failed("The workers of the job were lost"),
    errors.Undecryptable: _misconfigured("The texts cannot be decrypted"),
    # What became of a job, or of a batch.
    JobError: _misconfigured("The job failed"),
    errors.UnknownJob: _of_caller("There is no such job", HTTPStatus.NOT_FOUND),
    errors.JobExpired: _of_caller("The job has expired", HTTPStatus.GONE),
    errors.JobCancelled: _of_caller("The job was cancelled", HTTPStatus.CONFLICT),
    JobFailed: _worker_failed("The job failed"),
    WaitTimeout: ProblemType(
        HTTPStatus.GATEWAY_TIMEOUT,
        "There is no outcome yet",
        "The job is not affected: ask for its outcome later.",
    ),
    BatchError: _misconfigured("The batch failed"),
    errors.UnknownBatch: _of_caller("There is no such batch", HTTPStatus.NOT_FOUND),
    errors.BatchTimeout: ProblemType(
        HTTPStatus.GATEWAY_TIMEOUT,
        "The batch is not complete yet",
        "The batch is not affected: ask for its outcomes later.",
    ),
}

#: The errors that workers store as results, by their code.
_STORED: Final = {
    each.__name__: each
    for each in PROBLEM_TYPES
    if issubclass(each, (errors.InvalidInput, errors.WorkerError))
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, as a response describes it.

    Attributes:
        type: The URN of the class of the error.
        title: What the type means.
        status: The HTTP status.
        detail: What happened this time.
        retry_after_s: In how many seconds the request may be repeated; None if it should not be.
        members: Further members of the document.
    """

    type: str
    title: str
    status: HTTPStatus
    detail: str
    retry_after_s: int | None = None
    members: Mapping[str, object] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response, besides its media type."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    @property
    def document(self) -> dict[str, object]:
        """The members of the document."""
        return {
            "type": self.type,
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            **self.members,
        }

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        return orjson.dumps(self.document)


def problem_of(error: SentqError) -> Problem:
    """Return the problem that tells a client about an error.

    A `JobFailed` has the type of the error that its worker stored, if that is one of sentq. An
    error of a class that is not known here has the type of its nearest base.
    """
    kind = type(error)
    if isinstance(error, JobFailed):
        kind = _STORED.get(error.code, kind)
    known = next(each for each in kind.__mro__ if each in PROBLEM_TYPES)
    about = PROBLEM_TYPES[known]
    return Problem(
        type=type_of(known),
        title=about.title,
        status=about.status,
        detail=str(error) if about.detail is None else about.detail,
        retry_after_s=_retry_after_s(error) if about.may_be_repeated else None,
        members=_members(error),
    )


def log_problem(error: SentqError, problem: Problem) -> None:
    """Log what the response does not say: the message of an error that is not the caller's."""
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", type(error).__name__, error)


def type_of(kind: type[Exception]) -> str:
    """Return the URN of a class of errors: `urn:sentq:problem:queue-full` for `QueueFull`."""
    return _URN + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def _retry_after_s(error: SentqError) -> int:
    if isinstance(error, Overloaded):
        return max(1, math.ceil(error.retry_after_s))
    return _RETRY_AFTER_S


def _members(error: SentqError) -> dict[str, str | int]:
    members: dict[str, str | int] = {}
    if isinstance(error, JobError):
        members["job_id"] = error.job_id
    if error.batch_id is not None:
        members["batch_id"] = error.batch_id
    if isinstance(error, WaitTimeout):
        members["job_status"] = str(error.status)
    return members
