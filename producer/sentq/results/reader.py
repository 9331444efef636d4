"""Reading outcomes. A job's outcome is the Celery result document `celery-task-meta-<id>`.

Whoever writes a document also publishes it on a channel of the same name. A reader subscribes
first and looks second, so that no outcome can fall in between; and it looks again from time to
time, because a half-open connection delivers nothing and says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from sentq.contract import JobOutcome, JobStatus
from sentq.errors import JobError, JobExpired, ResultsUnavailable, UnknownJob, WaitTimeout
from sentq.wire.documents import QUEUED_DOCUMENT, is_final, outcome_of, parse_document, status_of
from sentq.wire.ids import sent_at_ms, step_of
from sentq.wire.lua import Script

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ResultReader"]

#: How long a reader waits on its subscription before it looks for itself.
_LOOK_AGAIN_S: Final = 2.0

#: How long Redis may be away before a reader without a time-out gives up.
_OUTAGE_S: Final = 30.0

_PAUSE_WHILE_AWAY_S: Final = 0.2

#: What a connection to Redis raises when it breaks, or takes too long.
_AWAY: Final = (redis.ConnectionError, redis.TimeoutError, ResultsUnavailable)


class ResultReader:
    """The outcomes of jobs, kept in Redis for `ttl_s` seconds. Safe to share between threads."""

    def __init__(self, app: Celery, *, ttl_s: int) -> None:
        self.app = app
        self.ttl_s = ttl_s

    def mark_queued(self, job_id: str) -> None:
        """Make the job known. To be called before it is sent, lest it overtake its own worker.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        self.command("SET", self.key(job_id), QUEUED_DOCUMENT, "EX", self.ttl_s, "NX")

    def queued_key(self, job_ids: Sequence[str]) -> bytes:
        """The key whose document makes jobs known that are sent together: of a single job its
        own; of more the one of their step, because a key for each would slow Redis down by half
        when millions wait."""
        return self.key(job_ids[0]) if len(job_ids) == 1 else _step_key(job_ids[0])

    def forget(self, job_id: str) -> None:
        """Remove whatever is known of the job, if Redis can be reached."""
        try:
            self.command("DEL", self.key(job_id))
        except ResultsUnavailable:
            return  # It expires by itself.

    def status(self, job_id: str) -> JobStatus:
        """Where the job is now.

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
            WaitTimeout: It was not there within `timeout_s` seconds.
            UnknownJob, JobExpired: Redis has nothing about the job (any more).
            JobCancelled: It was cancelled, or revoked by an operator.
            JobFailed: The job as a whole failed.
            ResultsUnavailable: Redis went away and did not come back in time.
        """
        return outcome_of(job_id, self._final_document(job_id, _Deadline(timeout_s)))

    def ready(self, job_ids: Sequence[str]) -> dict[str, JobOutcome | JobError]:
        """The outcomes of those of these jobs that have ended, or the errors that `wait` would
        raise for them. One round trip.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        ended: dict[str, JobOutcome | JobError] = {}
        for job_id, raw in zip(job_ids, self.command("MGET", *self.keys(job_ids)), strict=True):
            document = None if raw is None else parse_document(job_id, raw)
            if document is not None and is_final(document):
                try:
                    ended[job_id] = outcome_of(job_id, document)
                except JobError as error:
                    ended[job_id] = error
        return ended

    def _final_document(self, job_id: str, deadline: _Deadline) -> dict[str, Any]:
        document = self.known(job_id, self._document(job_id))
        away_since: float | None = None
        while not is_final(document):
            try:
                document = self._listen(job_id, deadline)
                away_since = None
            except _AWAY as error:
                now = time.monotonic()
                away_since = away_since or now
                if deadline.passed or now - away_since > _OUTAGE_S:
                    raise ResultsUnavailable(
                        f"Redis went away while waiting for job {job_id}; the job is not affected"
                    ) from error
                time.sleep(_PAUSE_WHILE_AWAY_S)
        return document

    def _listen(self, job_id: str, deadline: _Deadline) -> dict[str, Any]:
        """Subscribe, look, and wait for a final document on this one connection."""
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self.key(job_id))
            while True:
                document = self.known(job_id, self._document(job_id))
                if is_final(document):
                    return document
                look_again = _Deadline(min(_LOOK_AGAIN_S, deadline.remaining_s))
                while not look_again.passed:
                    message = subscription.get_message(timeout=look_again.remaining_s)
                    if message is not None:
                        # What is published is the document itself.
                        published = parse_document(job_id, message["data"])
                        if is_final(published):
                            return published
                if deadline.passed:
                    raise WaitTimeout(
                        f"job {job_id} has no outcome yet; it is {status_of(document)}", job_id
                    )

    def known(self, job_id: str, document: dict[str, Any] | None) -> dict[str, Any]:
        """The job's document, if there was one.

        Raises:
            UnknownJob, JobExpired: There was none.
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
        raw, step = self.command("MGET", *self.document_keys(job_id))
        raw = step if raw is None else raw
        return None if raw is None else parse_document(job_id, raw)

    def run_script(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[int | str | bytes]
    ) -> Any:
        """Run a script where the outcomes are.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused it.
        """
        return self._run(lambda redis: script.run(redis, keys, arguments))

    def command(self, *arguments: object) -> Any:
        """Run a command where the outcomes are.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused it.
        """
        return self._run(lambda redis: redis.execute_command(*arguments))

    def _run(self, command: Callable[[redis.Redis], Any]) -> Any:
        """Run a command, once more on a fresh connection where the pooled one was dead."""
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

    def keys(self, job_ids: Sequence[str]) -> list[bytes]:
        """Where the documents of these jobs are."""
        if not job_ids:
            return []
        # The same prefix for all, and not for free: ask once.
        first = job_ids[0].encode()
        prefix = self.key(job_ids[0]).removesuffix(first)
        return [prefix + job_id.encode() for job_id in job_ids]

    def document_keys(self, job_id: str) -> tuple[bytes, bytes]:
        """Where the job's document is, and where the one that made it known with others."""
        return self.key(job_id), _step_key(job_id)

    def key(self, job_id: str) -> bytes:
        """Where the job's document is."""
        return cast("bytes", self.app.backend.get_key_for_task(job_id))


class _Deadline:
    """A point in time; never, where it is made of None."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float:
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining_s == 0.0


def _step_key(job_id: str) -> bytes:
    return f"sentq-sent-{step_of(job_id)}".encode()
