"""Read the outcomes of jobs from Celery's result documents, `celery-task-meta-<id>`.

A worker that stores a document also publishes it on the channel of the same name. A reader
subscribes first and reads second, so that it misses no outcome in between. It reads again from time
to time, because a half-open connection delivers nothing and raises no error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from sentq.connection.app import document_keys
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
from sentq.results.backlog import Backlog, read_backlog
from sentq.wire.documents import QUEUED_DOCUMENT, is_final, outcome_of, parse_document, status_of
from sentq.wire.ids import send_group_of, sent_at_ms
from sentq.wire.lua import Script
from sentq.wire.sealing import Keyring

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ResultReader"]

#: How long a reader waits on its subscription before it reads the document again.
_POLL_INTERVAL_S: Final = 2.0

#: How long Redis may be unavailable before a reader without a time-out stops.
_MAX_OUTAGE_S: Final = 30.0

#: How long a backlog is good for the message of a time-out. Callers may poll with short ones.
_BACKLOG_VALID_S: Final = 1.0

_OUTAGE_PAUSE_S: Final = 0.2

#: The errors of a connection that breaks or times out.
_CONNECTION_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError, ResultsUnavailable)


class ResultReader:
    """Reads the outcomes of jobs, which Redis keeps for `ttl_s` seconds. Thread-safe.

    Args:
        app: The Celery app of the results.
        ttl_s: How long Redis keeps outcomes.
        keyring: Decrypts outcomes that workers have encrypted.
        is_single_redis: Whether messages and results are in the same database of one Redis.
    """

    def __init__(
        self,
        app: Celery,
        *,
        ttl_s: int,
        keyring: Keyring | None = None,
        is_single_redis: bool = False,
    ) -> None:
        self.app = app
        self.ttl_s = ttl_s
        self.keyring = keyring
        self._is_single_redis = is_single_redis
        #: The backlog that was read last, None if it could not be read, and the monotonic time.
        self._backlog: tuple[Backlog | None, float] | None = None

    def mark_queued(self, job_id: str) -> None:
        """Make a job known. Call it before the job is sent: its worker may be faster otherwise.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        self.command("SET", self.key(job_id), QUEUED_DOCUMENT, "EX", self.ttl_s, "NX")

    def queued_key(self, job_ids: Sequence[str]) -> bytes:
        """Return the key of the document that makes the jobs of a send group known.

        For a single job it is the job's own key. Several jobs share one, because a key for each
        would slow Redis down by half when millions of jobs wait.
        """
        return self.key(job_ids[0]) if len(job_ids) == 1 else _group_key(job_ids[0])

    def forget(self, job_id: str) -> None:
        """Remove the job's document, if Redis is available."""
        try:
            self.command("DEL", self.key(job_id))
        except ResultsUnavailable:
            return  # It expires by itself.

    def status(self, job_id: str) -> JobStatus:
        """Return the status of the job.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        document = self._document(job_id)
        if document is None:
            return JobStatus.UNKNOWN
        return status_of(document)

    def wait(self, job_id: str, *, timeout_s: float | None) -> JobOutcome:
        """Wait for the job's outcome.

        Raises:
            WaitTimeout: There was no outcome within `timeout_s` seconds.
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            JobCancelled: The job was cancelled, or revoked by an operator.
            JobFailed: The job as a whole failed.
            ResultsUnavailable: Redis was not available for too long.
        """
        document = self._final_document(job_id, _Deadline(timeout_s))
        return outcome_of(job_id, document, self.keyring)

    def ready(self, job_ids: Sequence[str]) -> dict[str, JobOutcome | JobError]:
        """Return the outcomes of the jobs that have ended, or the errors that `wait` would raise.

        Takes one round trip.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        ended: dict[str, JobOutcome | JobError] = {}
        for job_id, raw in zip(job_ids, self._documents(job_ids), strict=True):
            document = None if raw is None else parse_document(job_id, raw)
            if document is not None and is_final(document):
                try:
                    ended[job_id] = outcome_of(job_id, document, self.keyring)
                except JobError as error:
                    ended[job_id] = error
        return ended

    def _final_document(self, job_id: str, deadline: _Deadline) -> dict[str, Any]:
        document = self.require_document(job_id, self._document(job_id))
        outage_since: float | None = None
        while not is_final(document):
            try:
                document = self._listen(job_id, deadline)
                outage_since = None
            except _CONNECTION_ERRORS as error:
                now = time.monotonic()
                outage_since = outage_since or now
                if deadline.has_passed or now - outage_since > _MAX_OUTAGE_S:
                    raise ResultsUnavailable(
                        f"Redis went away while waiting for job {job_id}; the job is not affected"
                    ) from error
                time.sleep(_OUTAGE_PAUSE_S)
        return document

    def _listen(self, job_id: str, deadline: _Deadline) -> dict[str, Any]:
        """Subscribe, read, and wait for a final document, all on one connection."""
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self.key(job_id))
            while True:
                document = self.require_document(job_id, self._document(job_id))
                if is_final(document):
                    return document
                next_poll = _Deadline(min(_POLL_INTERVAL_S, deadline.remaining_s))
                while not next_poll.has_passed:
                    message = subscription.get_message(timeout=next_poll.remaining_s)
                    if message is not None:
                        # The message is the document itself.
                        published = parse_document(job_id, message["data"])
                        if is_final(published):
                            return published
                if deadline.has_passed:
                    raise self._timed_out(job_id, status_of(document))

    def backlog(self) -> Backlog:
        """Return what waits in the queues of the app, and the workers that read them.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        queues = [queue.name for queue in self.app.conf.task_queues]
        return read_backlog(self.app, queues, is_single_redis=self._is_single_redis)

    def _timed_out(self, job_id: str, status: JobStatus) -> WaitTimeout:
        message = f"job {job_id} has no outcome yet; it is {status}"
        backlog = self._recent_backlog()
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

    def _recent_backlog(self) -> Backlog | None:
        now_s = time.monotonic()
        if self._backlog is None or now_s - self._backlog[1] > _BACKLOG_VALID_S:
            try:
                found = self.backlog()
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
        if sent_ms is not None and time.time() * 1000 - sent_ms > self.ttl_s * 1000:
            raise JobExpired(
                f"the outcome of job {job_id} was kept for {self.ttl_s} s and is gone", job_id
            )
        raise UnknownJob(
            f"Redis knows no job {job_id}: it was never sent there, or Redis lost its data", job_id
        )

    def _document(self, job_id: str) -> dict[str, Any] | None:
        raw, of_group = self.command("MGET", *self.document_keys(job_id))
        raw = of_group if raw is None else raw
        return None if raw is None else parse_document(job_id, raw)

    def run_script(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[int | str | bytes]
    ) -> Any:
        """Run a script in the Redis of the results.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused the script.
        """
        return self._run(lambda redis: script.run(redis, keys, arguments))

    def command(self, *arguments: object) -> Any:
        """Run a command in the Redis of the results.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused the command.
        """
        return self._run(lambda redis: redis.execute_command(*arguments))

    def _run(self, command: Callable[[redis.Redis], Any]) -> Any:
        """Run a command; once more on a new connection if the pooled one was broken."""
        try:
            try:
                return command(self._redis)
            except redis.ConnectionError:
                return command(self._redis)
        except redis.TimeoutError as error:
            raise ResultsUnavailable("Redis did not answer in time") from error
        except redis.RedisError as error:
            raise ResultsUnavailable(f"Redis cannot be used: {error}") from error

    @property
    def _redis(self) -> redis.Redis:
        return cast("redis.Redis", self.app.backend.client)

    def _documents(self, job_ids: Sequence[str]) -> list[bytes | None]:
        keys = document_keys(self.app.backend, job_ids)
        return cast("list[bytes | None]", self.command("MGET", *keys))

    def document_keys(self, job_id: str) -> tuple[bytes, bytes]:
        """Return the keys of the job's document, and of the one that makes its send group known."""
        return self.key(job_id), _group_key(job_id)

    def key(self, job_id: str) -> bytes:
        """Return the key of the job's document."""
        return cast("bytes", self.app.backend.get_key_for_task(job_id))


class _Deadline:
    """A point in monotonic time, or never if the time-out is None."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float:
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return self.remaining_s == 0.0


def _group_key(job_id: str) -> bytes:
    return f"sentq-sent-{send_group_of(job_id)}".encode()
