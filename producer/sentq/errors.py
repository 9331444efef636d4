"""Every error that sentq raises at its caller, in one tree.

    SentqError
    ├── SettingsError            the configuration is wrong; nothing was started
    ├── InvalidInput             refused before sending; the message names the limit
    │   ├── EmptyJob
    │   ├── NotAString
    │   ├── LoneSurrogate
    │   └── OverLimit
    │       ├── TooManyTexts
    │       ├── TextTooLong
    │       └── MessageTooLarge
    ├── RedisUnavailable         a server did not answer in time; may be tried again
    │   ├── BrokerUnavailable    the job was not accepted
    │   └── ResultsUnavailable   the job may be running; only its outcome cannot be read
    ├── Overloaded               the job was not accepted; come back after `retry_after_s`
    │   ├── QueueFull            as many jobs or bytes wait as the settings allow
    │   └── RedisFull            Redis has no memory left for it
    ├── WorkerError              stored by a worker as a job's result; `JobFailed.code` names it
    │   ├── ScoringFailed        the worker failed on the job's batch
    │   └── WorkerLost           the job's workers were lost each time it was delivered
    └── JobError                 concerns one job that was sent; carries its id
        ├── UnknownJob
        ├── JobExpired
        ├── JobCancelled
        ├── JobFailed
        └── WaitTimeout

No message ever quotes a text: it says where the text stood and what it measured.

Workers store some of these classes in results by name (`exc_module`, `exc_type`), so neither this
module nor the classes may be renamed. `tests/contract/test_stored_results.py` pins the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

__all__ = [
    "BrokerUnavailable",
    "EmptyJob",
    "InvalidInput",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "LoneSurrogate",
    "MessageTooLarge",
    "NotAString",
    "OverLimit",
    "Overloaded",
    "QueueFull",
    "RedisFull",
    "RedisUnavailable",
    "ResultsUnavailable",
    "ScoringFailed",
    "SentqError",
    "SettingsError",
    "TextTooLong",
    "TooManyTexts",
    "UnknownJob",
    "WaitTimeout",
    "WorkerError",
    "WorkerLost",
]


class SentqError(Exception):
    """Base of everything that sentq raises on purpose."""


class SettingsError(SentqError):
    """A setting is unknown, malformed or impossible. Correct it and start again."""


class InvalidInput(SentqError, ValueError):
    """The job was refused before anything was sent. Sending it again gives the same answer."""


class EmptyJob(InvalidInput):
    """A job must hold at least one text."""


class NotAString(InvalidInput):
    """A text is something else than a `str`."""


class LoneSurrogate(InvalidInput):
    """A text holds half of a surrogate pair: it is not valid Unicode and cannot be encoded."""


class OverLimit(InvalidInput):
    """The job is larger than the contract (or a stricter setting) allows."""


class TooManyTexts(OverLimit):
    """More texts than one job may carry. Split it, or use `Client.map`."""


class TextTooLong(OverLimit):
    """A text has more characters than allowed. Cut it, or raise the setting up to the contract."""


class MessageTooLarge(OverLimit):
    """The job's message would have more bytes than allowed. Send fewer texts a job."""


class RedisUnavailable(SentqError, ConnectionError):
    """Redis did not answer within the time-out."""


class BrokerUnavailable(RedisUnavailable):
    """The job was not accepted by the broker. Send it again later. Of jobs that were sent
    together, `accepted` holds the ids of the first ones, which were accepted."""

    accepted: Sequence[str] = ()


class ResultsUnavailable(RedisUnavailable):
    """The result backend did not answer. The job is not affected: ask again later."""


class Overloaded(SentqError):
    """The job was not accepted, because too much waits already. `retry_after_s` estimates in how
    many seconds there will be room, None where nobody can tell. Of jobs that were sent together,
    `accepted` holds the ids of the first ones, which were accepted."""

    accepted: Sequence[str] = ()

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Overloaded):
    """As many jobs, or bytes, wait in the queue as the settings allow."""


class RedisFull(Overloaded):
    """Redis is at its `maxmemory`. What it accepted before is intact."""


class WorkerError(SentqError):
    """A worker could not score a job as a whole. Stored as the job's result: a stock Celery client
    raises it, and sentq's client raises `JobFailed` with the class name as its `code`."""


class ScoringFailed(WorkerError):
    """The worker failed on the batch that the job was part of. Submit the job again."""

    @classmethod
    def from_error(cls, error: BaseException) -> Self:
        """Name only the class of the error: its message might quote a text."""
        return cls(f"the worker failed with {type(error).__name__}")


class WorkerLost(WorkerError):
    """Each worker to which the job was delivered was lost. The job is a dead letter."""


class JobError(SentqError):
    """Concerns the job `job_id`."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class UnknownJob(JobError):
    """Redis knows no job of this id: it was never sent there, or Redis lost its data."""


class JobExpired(JobError):
    """The job was not run in time, or its outcome was kept as long as configured and is gone."""


class JobCancelled(JobError):
    """The job was cancelled before it was scored."""


class JobFailed(JobError):
    """The whole job ended without outcomes; `code` is the error's class name at the worker."""

    def __init__(self, message: str, job_id: str, code: str) -> None:
        super().__init__(message, job_id)
        self.code = code


class WaitTimeout(JobError, TimeoutError):
    """The outcome was not there in time. The job goes on: wait again, or ask for its status."""
