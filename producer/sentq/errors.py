"""All errors that sentq raises, in one tree.

    SentqError
    ├── SettingsError            the configuration is wrong; nothing was started
    ├── InvalidInput             rejected before sending; the message names the limit
    │   ├── EmptyJob
    │   ├── KeyConflict          the idempotency key belongs to a job with other texts
    │   ├── NotAString
    │   ├── LoneSurrogate
    │   ├── LinkRefused          the worker may not publish what follows the job
    │   ├── NotEncrypted         the worker accepts encrypted jobs only
    │   ├── BatchClosed          the batch takes no more jobs
    │   ├── WebhookRefused       the operator does not allow the URL, or its receiver is gone
    │   └── OverLimit
    │       ├── BatchTooLarge
    │       ├── TooManyTexts
    │       ├── TextTooLong
    │       ├── MessageTooLarge
    │       ├── TooManyTokens    found by a worker; stored as the job's result
    │       └── EtaTooFar        found by the client, or by a worker
    ├── RedisUnavailable         a server did not answer in time; try again later
    │   ├── BrokerUnavailable    the job was not accepted
    │   └── ResultsUnavailable   the job is not affected; only its outcome cannot be read
    ├── Overloaded               the job was not accepted; try again after `retry_after_s`
    │   ├── QueueFull            as many jobs or bytes wait as the settings permit
    │   ├── RedisFull            Redis has no free memory
    │   └── WebhooksFull         as many webhooks wait as the settings permit
    ├── WorkerError              stored by a worker as a job's result; `JobFailed.code` names it
    │   ├── ScheduleFull         no more jobs may have an eta
    │   ├── ScoringFailed        the worker failed on the job's batch
    │   ├── Undecryptable        the worker cannot decrypt the job; it is a dead letter
    │   └── WorkerLost           the job's workers were lost each time it was delivered
    ├── BatchError               concerns one batch of jobs; has its id
    │   ├── UnknownBatch         it was never opened there, or is kept no longer
    │   └── BatchTimeout
    └── JobError                 concerns one job that was sent; has its id
        ├── UnknownJob
        ├── JobExpired
        ├── JobCancelled
        ├── JobFailed
        └── WaitTimeout

No message quotes a text: it gives the position of the text and its size.

Workers store some of these classes in results by name (`exc_module`, `exc_type`), so neither this
module nor the classes may be renamed. `tests/contract/test_stored_results.py` pins the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

__all__ = [
    "BatchClosed",
    "BatchError",
    "BatchTimeout",
    "BatchTooLarge",
    "BrokerUnavailable",
    "EmptyJob",
    "EtaTooFar",
    "InvalidInput",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "KeyConflict",
    "LinkRefused",
    "LoneSurrogate",
    "MessageTooLarge",
    "NotAString",
    "NotEncrypted",
    "OverLimit",
    "Overloaded",
    "QueueFull",
    "RedisFull",
    "RedisUnavailable",
    "ResultsUnavailable",
    "ScheduleFull",
    "ScoringFailed",
    "SentqError",
    "SettingsError",
    "TextTooLong",
    "TooManyTexts",
    "TooManyTokens",
    "Undecryptable",
    "UnknownBatch",
    "UnknownJob",
    "WaitTimeout",
    "WebhookRefused",
    "WebhooksFull",
    "WorkerError",
    "WorkerLost",
]


#: When to try again if no rate is known, in seconds.
_RETRY_AFTER_S: Final = 10.0


class SentqError(Exception):
    """The base of all errors of sentq.

    Attributes:
        batch_id: The batch whose jobs were being sent, if the error ended that. The batch stays
            open, with the jobs that were accepted (`Client.batch_by_id`).
    """

    batch_id: str | None = None


class SettingsError(SentqError):
    """A setting is unknown, malformed or impossible. Correct it and start again."""


class InvalidInput(SentqError, ValueError):
    """The job was rejected before anything was sent. A repetition fails in the same way."""


class EmptyJob(InvalidInput):
    """A job must hold at least one text."""


class KeyConflict(InvalidInput):
    """The idempotency key belongs to a job with other texts, or with another `local_only`,
    `detail` or `model`.

    Of several jobs, `accepted` holds the ids of the first ones, which were accepted.
    """

    accepted: Sequence[str] = ()


class NotAString(InvalidInput):
    """A text is not a `str`."""


class LoneSurrogate(InvalidInput):
    """A text has half of a surrogate pair: it is not valid Unicode and cannot be encoded."""


class LinkRefused(InvalidInput):
    """A link, a chain or a chord of the job names a task or a queue that the worker's
    `follow_tasks` or `follow_queues` does not allow. The job is a dead letter, and can be retried
    once the settings allow it."""


class NotEncrypted(InvalidInput):
    """The texts of the job are not encrypted, and the worker's `require_encryption` is on."""


class BatchClosed(InvalidInput):
    """The batch is closed or cancelled, and takes no more jobs. Open another one."""


class WebhookRefused(InvalidInput):
    """No webhook is sent to this URL: it is malformed, the operator does not allow it
    (`webhooks.hosts`), or its receiver has answered 410 and wants no more."""


class OverLimit(InvalidInput):
    """The job is larger than the contract, or a stricter setting, permits."""


class BatchTooLarge(OverLimit):
    """The batch would have too many jobs. Use several batches."""


class TooManyTexts(OverLimit):
    """The job has too many texts. Split it, or use `Client.map`."""


class TextTooLong(OverLimit):
    """A text has too many characters. Cut it, or raise the setting up to the contract's limit."""


class MessageTooLarge(OverLimit):
    """The job's message would have too many bytes. Send fewer texts in each job."""


class TooManyTokens(OverLimit):
    """The job's texts have too many tokens for the model of its worker. Send fewer texts in each
    job.

    Only a worker can count tokens, so `JobFailed.code` names this error.
    """


class EtaTooFar(OverLimit):
    """The job is due later than `max_eta_s` of the client, or `worker.max_eta_s`, permits. Send it
    later.

    A worker finds this for jobs that Celery's own calls have sent, and if its limit is the smaller
    one. Then `JobFailed.code` names it.
    """


class RedisUnavailable(SentqError, ConnectionError):
    """Redis did not answer within the time-out."""


class BrokerUnavailable(RedisUnavailable):
    """The broker did not accept the job. Send it again later.

    Of several jobs, `accepted` holds the ids of the first ones, which were accepted.
    """

    accepted: Sequence[str] = ()


class ResultsUnavailable(RedisUnavailable):
    """The result backend did not answer. The job is not affected; read it again later."""


class Overloaded(SentqError):
    """The job was not accepted, because there is no capacity.

    `retry_after_s` says in how many seconds to try again: by the rate of the workers where it is
    known, else after a pause that does no harm. Of several jobs, `accepted` holds the ids of the
    first ones, which were accepted.
    """

    accepted: Sequence[str] = ()

    def __init__(self, message: str, *, retry_after_s: float = _RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Overloaded):
    """As many jobs or bytes wait in the queue as the settings permit."""


class RedisFull(Overloaded):
    """Redis is at its `maxmemory`. Jobs that it accepted before are not affected."""


class WebhooksFull(Overloaded):
    """As many webhooks wait for delivery as the settings permit. Jobs without one are accepted."""


class WorkerError(SentqError):
    """A worker could not score a job as a whole. It is stored as the job's result.

    A stock Celery client raises it. The client of sentq raises `JobFailed`, with the name of the
    class as its `code`.
    """


class ScheduleFull(WorkerError):
    """As many jobs with an eta, or bytes of them, wait as the worker's settings permit. Send the
    job again when some of them were run."""


class ScoringFailed(WorkerError):
    """The worker failed on the batch of the job. Submit the job again."""

    @classmethod
    def from_error(cls, error: BaseException) -> Self:
        """Return an error that names only the class of another: its message might quote a text."""
        return cls(f"the worker failed with {type(error).__name__}")


class Undecryptable(WorkerError):
    """The job's texts cannot be decrypted: the key is missing, or they were changed. The job is a
    dead letter, and can be retried once its key is among `encryption_keys`."""


class WorkerLost(WorkerError):
    """Each worker to which the job was delivered was lost. The message is a dead letter."""


class BatchError(SentqError):
    """An error of the batch `batch_id`."""

    def __init__(self, message: str, batch_id: str) -> None:
        super().__init__(message)
        self.batch_id: str = batch_id


class UnknownBatch(BatchError):
    """Redis has no batch of this id: it was never opened there, or it is kept no longer, or Redis
    lost its data."""


class BatchTimeout(BatchError, TimeoutError):
    """No job of the batch ended in time, or not all of them. The batch is not affected."""


class JobError(SentqError):
    """An error of the job `job_id`."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class UnknownJob(JobError):
    """Redis has no job of this id: it was never sent there, or Redis lost its data."""


class JobExpired(JobError):
    """The job was not run in time, or its outcome has expired."""


class JobCancelled(JobError):
    """The job was cancelled before it was scored."""


class JobFailed(JobError):
    """The job as a whole failed; `code` is the class name of the worker's error."""

    def __init__(self, message: str, job_id: str, code: str) -> None:
        super().__init__(message, job_id)
        self.code = code


class WaitTimeout(JobError, TimeoutError):
    """There was no outcome in time. The job is not affected: wait again, or ask for its status.

    Attributes:
        status: The job's status, as `Job.status` gives it.
        jobs_ahead: How many jobs may be before it in its queue, at most; 0 if it is in no queue
            any more. None if that could not be read.
        workers: How many workers report that they read the client's queues; None if that could
            not be read.
    """

    def __init__(
        self,
        message: str,
        job_id: str,
        *,
        status: str = "unknown",
        jobs_ahead: int | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(message, job_id)
        self.status = status
        self.jobs_ahead = jobs_ahead
        self.workers = workers
