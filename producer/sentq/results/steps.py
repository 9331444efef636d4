"""Steps that read the outcomes of jobs from Celery's result documents, `celery-task-meta-<id>`.

A worker that stores a document also publishes it on the channel of the same name. A reader
subscribes first and reads second, so that it misses no outcome in between. It reads again from time
to time, because a half-open connection delivers nothing and raises no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from sentq.connection.app import AppOfClient, document_keys, key_with_result_prefix
from sentq.connection.broker import unusable
from sentq.connection.stand_in import stand_in
from sentq.contract import JobOutcome, JobStatus
from sentq.errors import (
    BrokerUnavailable,
    JobError,
    JobExpired,
    ResultsUnavailable,
    SettingsError,
    UnknownJob,
    WaitTimeout,
)
from sentq.results.backlog import Backlog
from sentq.wire.clock import CLOCK
from sentq.wire.documents import (
    QUEUED_DOCUMENT,
    due_ms_of,
    is_final,
    outcome_of,
    parse_document,
    scheduled_document,
    status_of,
)
from sentq.wire.ids import send_group_of, sent_at_ms
from sentq.wire.scheduled import DueTime, moment
from sentq.wire.sealing import Keyring
from sentq.wire.steps import Deadline, Pause, Steps

if TYPE_CHECKING:
    from datetime import datetime

    from celery import Celery

__all__ = ["Listen", "ReadBacklog", "ResultSteps", "Subscribe", "results_unavailable"]

#: How long a reader waits on its subscription before it reads the document again.
_POLL_INTERVAL_S: Final = 2.0

#: How long Redis may be unavailable before a reader without a time-out stops.
_MAX_OUTAGE_S: Final = 30.0

#: How long a backlog is good for the message of a time-out. Callers may poll with short ones.
_BACKLOG_VALID_S: Final = 1.0

#: After so many bytes of documents others may run: to parse them takes some milliseconds.
_BYTES_BETWEEN_PAUSES: Final = 256 * 1024

_OUTAGE_PAUSE_S: Final = 0.2

#: The errors of a connection that breaks or times out.
_CONNECTION_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError, ResultsUnavailable)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to a channel, anew if that was done before. The reply is None. The driver ends the
    subscription at the end of the steps."""

    channel: bytes


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait for a message on the channel. The reply is None if nothing comes for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ReadBacklog:
    """Read the backlog of the client's queues. The reply is a `Backlog`."""


class ResultSteps:
    """Steps that read the outcomes of jobs, which Redis keeps for `ttl_s` seconds. Thread-safe.

    Commands are for the Redis of the results. What is raised for an error of Redis is
    `ResultsUnavailable`, or an error of redis-py for `Subscribe` and `Listen`.

    Args:
        app: The Celery app of broker and results. It defines the names of keys.
        ttl_s: How long Redis keeps outcomes.
        keyring: Decrypts outcomes that workers have encrypted.
        is_single_redis: Whether messages and results are in the same database of one Redis.
    """

    def __init__(
        self,
        app: AppOfClient,
        *,
        ttl_s: int,
        keyring: Keyring | None = None,
        is_single_redis: bool = False,
    ) -> None:
        self._app = app
        self.ttl_s = ttl_s
        self.keyring = keyring
        self._is_single_redis = is_single_redis
        #: The backlog that was read last, None if it could not be read, and the monotonic time.
        self._backlog: tuple[Backlog | None, float] | None = None

    @property
    def app(self) -> Celery:
        """The Celery app of broker and results. The first use of it imports Celery."""
        return self._app.get()

    def close(self) -> None:
        """Close the connections. It may be used again."""
        self._app.close()

    @property
    def is_single_redis(self) -> bool:
        """Whether messages and results are in the same database of one Redis."""
        return self._is_single_redis or stand_in() is not None

    def queued_key(self, job_ids: Sequence[str]) -> bytes:
        """Return the key of the document that makes the jobs of a send group known.

        For a single job it is the job's own key. Several jobs share one, because a key for each
        would slow Redis down by half when millions of jobs wait.
        """
        return self.key(job_ids[0]) if len(job_ids) == 1 else self._group_key(job_ids[0])

    def queued_as(self, due: DueTime | None) -> tuple[int, bytes]:
        """Return how long a job is known that is sent now and due then, in seconds, and the
        document that makes it known."""
        if due is None:
            return self.ttl_s, QUEUED_DOCUMENT
        return self.ttl_s + due.in_s, scheduled_document(due.at_ms)

    def mark_queued_steps(self, job_id: str, due: DueTime | None = None) -> Steps[None]:
        """Make a job known. Do so before the job is sent: its worker may be faster otherwise."""
        ttl_s, document = self.queued_as(due)
        yield ("SET", self.key(job_id), document, "EX", ttl_s, "NX")

    def status_steps(self, job_id: str) -> Steps[JobStatus]:
        """Return the status of the job: one round trip, and a second one if it is due later."""
        document = yield from self._document_steps(job_id)
        if document is None:
            return JobStatus.UNKNOWN
        return (yield from self._status_now_steps(document))

    def look_steps(self, job_id: str) -> Steps[JobOutcome | JobStatus]:
        """Return the outcome of the job, or its status if it has not ended: one round trip, and a
        second one if it is due later.

        Raises:
            UnknownJob, JobExpired, JobCancelled, JobFailed: As `wait_steps` does.
        """
        document = self.require_document(job_id, (yield from self._document_steps(job_id)))
        if is_final(document):
            return outcome_of(job_id, document, self.keyring)
        return (yield from self._status_now_steps(document))

    def due_at_steps(self, job_id: str) -> Steps[datetime | None]:
        """Return when the job is due, in UTC, if it was sent for later and not started yet."""
        document = yield from self._document_steps(job_id)
        due_ms = None if document is None else due_ms_of(document)
        return None if due_ms is None else moment(due_ms)

    def wait_steps(
        self, job_id: str, deadline: Deadline, *, is_away: bool = False
    ) -> Steps[JobOutcome]:
        """Wait for the job's outcome.

        Args:
            job_id: The job's id.
            deadline: Until when.
            is_away: Redis was available before and did not reply just now, which is waited out.
                Otherwise its first reply has to come at once.

        Raises:
            WaitTimeout: There was no outcome at the deadline.
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            JobCancelled: The job was cancelled, or revoked by an operator.
            JobFailed: The job as a whole failed.
            ResultsUnavailable: Redis was not available for too long.
        """
        document = yield from self._final_document_steps(job_id, deadline, is_away=is_away)
        return outcome_of(job_id, document, self.keyring)

    def ready_steps(self, job_ids: Sequence[str]) -> Steps[dict[str, JobOutcome | JobError]]:
        """Return the outcomes of the jobs that have ended, or the errors that waiting would raise.

        Takes one round trip.
        """
        found = yield ("MGET", *document_keys(self.app.backend, job_ids))
        ended: dict[str, JobOutcome | JobError] = {}
        parsed_bytes = 0
        for job_id, raw in zip(job_ids, found, strict=True):
            parsed_bytes += 0 if raw is None else len(raw)
            if parsed_bytes > _BYTES_BETWEEN_PAUSES:
                yield Pause(0)
                parsed_bytes = 0
            try:
                document = None if raw is None else parse_document(job_id, raw)
                if document is not None and is_final(document):
                    ended[job_id] = outcome_of(job_id, document, self.keyring)
            except JobError as error:
                ended[job_id] = error
        return ended

    def _final_document_steps(
        self, job_id: str, deadline: Deadline, *, is_away: bool
    ) -> Steps[dict[str, Any]]:
        document: dict[str, Any] | None = None
        if not is_away:
            document = self.require_document(job_id, (yield from self._document_steps(job_id)))
        outage_since: float | None = None
        while document is None or not is_final(document):
            try:
                document = yield from self._listen_steps(job_id, deadline)
                outage_since = None
            except _CONNECTION_ERRORS as error:
                now = CLOCK.monotonic_s()
                outage_since = outage_since or now
                if deadline.has_passed or now - outage_since > _MAX_OUTAGE_S:
                    raise ResultsUnavailable(
                        f"Redis went away while waiting for job {job_id}; the job is not affected"
                    ) from error
                yield Pause(_OUTAGE_PAUSE_S)
        return document

    def _listen_steps(self, job_id: str, deadline: Deadline) -> Steps[dict[str, Any]]:
        """Subscribe, read, and wait for a final document."""
        yield Subscribe(self.key(job_id))
        while True:
            document = self.require_document(job_id, (yield from self._document_steps(job_id)))
            if is_final(document):
                return document
            next_poll = Deadline(min(_POLL_INTERVAL_S, deadline.remaining_s))
            while not next_poll.has_passed:
                message = yield Listen(next_poll.remaining_s)
                if message is not None:
                    # The message is the document itself.
                    published = parse_document(job_id, message)
                    if is_final(published):
                        return published
            if deadline.has_passed:
                raise (yield from self._timed_out_steps(job_id, document))

    def _timed_out_steps(self, job_id: str, document: dict[str, Any]) -> Steps[WaitTimeout]:
        status = yield from self._status_now_steps(document)
        message = f"job {job_id} has no outcome yet; it is {status}"
        due_ms = due_ms_of(document)
        if status is JobStatus.SCHEDULED and due_ms is not None:
            message += f" for {moment(due_ms).isoformat(timespec='seconds')}"
        backlog = yield from self._recent_backlog_steps()
        if backlog is None:
            return WaitTimeout(message, job_id, status=status)
        # A client sees only the lengths of queues, and not which of them has the job.
        ahead = max(0, backlog.total_jobs - 1) if status is JobStatus.QUEUED else 0
        workers = len(backlog.workers)
        if status is JobStatus.QUEUED:
            message += f", with at most {ahead:,} jobs before it"
        names = " or ".join(backlog.waiting_jobs)
        reading = f"{workers} worker{'s read' if workers > 1 else ' reads'}"
        message += f"; {reading if workers else 'no worker reports that it reads'} {names}"
        return WaitTimeout(message, job_id, status=status, jobs_ahead=ahead, workers=workers)

    def _recent_backlog_steps(self) -> Steps[Backlog | None]:
        now_s = CLOCK.monotonic_s()
        if self._backlog is None or now_s - self._backlog[1] > _BACKLOG_VALID_S:
            try:
                found = yield ReadBacklog()
            except (BrokerUnavailable, SettingsError):
                found = None  # No right to read it, or a broker other than Redis.
            self._backlog = found, now_s
        return self._backlog[0]

    def require_document(self, job_id: str, document: dict[str, Any] | None) -> dict[str, Any]:
        """Return the job's document if it is not None.

        Raises:
            UnknownJob, JobExpired: Redis has no document of the job.
        """
        if document is not None:
            return document
        sent_ms = sent_at_ms(job_id)
        if sent_ms is not None and CLOCK.unix_s() * 1000 - sent_ms > self.ttl_s * 1000:
            raise JobExpired(
                f"the outcome of job {job_id} was kept for {self.ttl_s} s and is gone", job_id
            )
        raise UnknownJob(
            f"Redis knows no job {job_id}: it was never sent there, or Redis lost its data", job_id
        )

    def _status_now_steps(self, document: dict[str, Any]) -> Steps[JobStatus]:
        """Return the status. Whether a job is due is told by Redis' clock, as workers do."""
        due_ms = due_ms_of(document)
        if due_ms is not None:
            seconds, microseconds = yield ("TIME",)
            if int(seconds) * 1000 + int(microseconds) // 1000 < due_ms:
                return JobStatus.SCHEDULED
        return status_of(document)

    def _document_steps(self, job_id: str) -> Steps[dict[str, Any] | None]:
        raw, of_group = yield ("MGET", *self.document_keys(job_id))
        raw = of_group if raw is None else raw
        return None if raw is None else parse_document(job_id, raw)

    def document_keys(self, job_id: str) -> tuple[bytes, bytes]:
        """Return the keys of the job's document, and of the one that makes its send group known."""
        return self.key(job_id), self._group_key(job_id)

    def key(self, job_id: str) -> bytes:
        """Return the key of the job's document."""
        return cast("bytes", self.app.backend.get_key_for_task(job_id))

    def _group_key(self, job_id: str) -> bytes:
        return key_with_result_prefix(self.app, f"sentq-sent-{send_group_of(job_id)}")


def results_unavailable(error: redis.RedisError) -> ResultsUnavailable:
    """Return the error for one of redis-py."""
    if isinstance(error, redis.TimeoutError):
        return ResultsUnavailable("Redis did not answer in time")
    return ResultsUnavailable(unusable(error))
