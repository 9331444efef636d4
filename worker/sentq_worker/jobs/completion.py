"""Completing jobs: the one path from results to Redis, to monitors and to Celery.

    complete    results of jobs -> documents of plain jobs, in a queue; the others in a second one
    flush         -> each entry of the first queue, in order:
    _store           -> documents stored and messages acknowledged (`Acknowledger`)
    _report          -> events
    finish        -> Celery finishes the jobs of the second queue, for a limited time

Celery publishes each task that follows a job on its own, and a job may have hundreds of them. So
the event loop turns between jobs that Celery finishes, and no plain job waits for them.

To lose a job is worse than to run it twice, and to give it two different results is worst. So a
job is acknowledged with its result or after it, never before. What Redis does not store now is
kept, in order, until it does.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import redis
from celery.exceptions import TaskRevokedError
from redis.exceptions import OutOfMemoryError

from sentq.contract import BATCH_HEADER, CALLBACK_HEADER, TASK_NAME
from sentq.errors import LinkRefused
from sentq.wire.batches import BatchPlace, place_in
from sentq_worker.backoff import jittered_s
from sentq_worker.broker.callbacks import CallbackMessage, JobEnd
from sentq_worker.broker.protocols import Headers, JobConsumer
from sentq_worker.broker.results import ResultStore, failed, now_iso, succeeded
from sentq_worker.jobs.ack_handles import CeleryHandback
from sentq_worker.jobs.acknowledge import Acknowledger
from sentq_worker.jobs.events import TaskEvents
from sentq_worker.jobs.in_flight import DuplicateDeliveries, InFlightJob, with_duplicates
from sentq_worker.jobs.outcomes import JobResult, SealResult
from sentq_worker.monitoring.job_counts import JobCounts
from sentq_worker.tracing.batches import STORE, BatchTrace

__all__ = ["Completion"]

logger = logging.getLogger(__name__)

#: The delay before Redis is asked again to store what it did not. A connection that was cut is
#: made anew at once; a Redis that is away must not be asked all the time.
_MIN_RETRY_S: Final = 0.1
_MAX_RETRY_S: Final = 1.0

#: How often it is logged that outcomes still cannot be stored.
_LOG_INTERVAL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Completed:
    """Plain jobs whose results are known.

    Attributes:
        plain: The jobs, with their results.
        documents: What is stored, by job id.
        places: The places of those that belong to batches, by job id.
        callbacks: The callbacks of those that have one, by job id.
        runtime_s: How long they were in the engine, as events say it.
        started_at_s: When their batch began in the engine, in Unix seconds; None for jobs that
            needed no engine.
        trace: The span of their batch, if it is recorded. It ends when they are stored.
    """

    plain: Sequence[tuple[InFlightJob, JobResult]]
    documents: Mapping[str, bytes]
    places: Mapping[str, BatchPlace]
    callbacks: Mapping[str, CallbackMessage]
    runtime_s: float = 0.0
    started_at_s: float | None = None
    trace: BatchTrace | None = None


class _HandedBack(NamedTuple):
    """A job that Celery has yet to finish. See `_Completed`."""

    job: InFlightJob
    handback: CeleryHandback
    result: JobResult
    started_at_s: float | None


class _Pause:
    """The pause after Redis failed or refused, which grows with each time."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0
        self._log_at = 0.0

    @property
    def remaining_s(self) -> float:
        """How long Redis must not be asked; 0 if it may be."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, error: redis.RedisError, *, jobs: int) -> None:
        """Redis did not store the outcomes of so many jobs. That is logged from time to time."""
        self._failures += 1
        now = time.monotonic()
        self._until = now + jittered_s(self._failures, least_s=_MIN_RETRY_S, most_s=_MAX_RETRY_S)
        if now < self._log_at:
            return
        self._log_at = now + _LOG_INTERVAL_S
        reason = type(error).__name__
        if isinstance(error, OutOfMemoryError):
            reason = "Redis is at its maxmemory: raise it, or wait until outcomes expire"
        logger.warning("outcomes of %d jobs cannot be stored now (%s)", jobs, reason)

    def end(self) -> None:
        """Redis did store."""
        self._failures, self._until = 0, 0.0


class Completion:
    """Completes jobs, on one connection after the other. Lives as long as the worker.

    Args:
        store: Stores results.
        events: Sends the events of plain jobs.
        duplicates: Knows which jobs are in flight. Completed ones are removed from it.
        seal_result: Encrypts outcomes, if the worker does that.
        counts: Counts completed jobs.
    """

    def __init__(
        self,
        store: ResultStore,
        events: TaskEvents,
        duplicates: DuplicateDeliveries,
        seal_result: SealResult,
        counts: JobCounts,
    ) -> None:
        self._counts = counts
        self._result_store = store
        self._job_callbacks = store.job_callbacks
        self._seal_result = seal_result
        self._events = events
        self._duplicates = duplicates
        self._connection = 0
        self._acknowledger: Acknowledger | None = None
        self._unstored: deque[_Completed] = deque()
        #: Jobs that Celery has yet to finish, with their results.
        self._handbacks: deque[_HandedBack] = deque()
        #: Two pauses: a full Redis stores the outcomes of plain jobs, and not what Celery writes.
        self._store_pause, self._finish_pause = _Pause(), _Pause()

    def attach(self, consumer: JobConsumer, connection: int) -> None:
        """Go on with a new connection."""
        self._connection = connection
        self._acknowledger = Acknowledger(self._result_store, consumer, connection)

    def complete(
        self,
        results: Sequence[tuple[InFlightJob, JobResult]],
        *,
        runtime_s: float = 0.0,
        started_at_s: float | None = None,
        trace: BatchTrace | None = None,
    ) -> None:
        """Complete jobs with their results. Those of plain jobs are stored now, if Redis can;
        `finish` lets Celery finish the others.

        Args:
            results: Each job with its outcomes, or with the error for which it failed;
                TaskRevokedError is the one of a revoked job.
            runtime_s: How long the jobs were in the engine.
            started_at_s: When their batch began there, in Unix seconds.
            trace: The span of their batch, if it is recorded.
        """
        plain: list[tuple[InFlightJob, JobResult]] = []
        documents: dict[str, bytes] = {}
        places: dict[str, BatchPlace] = {}
        callbacks: dict[str, CallbackMessage] = {}
        now = now_iso()
        for job, result in results:
            if isinstance(job.ack_handle, CeleryHandback):
                self._handbacks.append(_HandedBack(job, job.ack_handle, result, started_at_s))
                continue
            plain.append((job, result))
            if job.ignores_result:
                continue
            stored = result if isinstance(result, Exception) else self._seal_result(job.id, result)
            documents[job.id] = _document(job.id, stored, now)
            if BATCH_HEADER in job.headers and (place := place_in(job.headers)):
                places[job.id] = place
            if CALLBACK_HEADER in job.headers and (
                callback := self._callback(job.headers, JobEnd.of(job.id, stored))
            ):
                callbacks[job.id] = callback
        if plain:
            self._unstored.append(
                _Completed(plain, documents, places, callbacks, runtime_s, started_at_s, trace)
            )
            if trace is not None:
                trace.begin_part(STORE)
        elif trace is not None:
            trace.end()  # All of its jobs are tried again, or finished by Celery.
        self.flush()

    def fail_dead_letter(self, job_ids: Sequence[str], error: Exception, headers: Headers) -> None:
        """Store that a job failed whose message is dead-lettered, and what waits for it.

        Args:
            job_ids: The id of the job, then those of what waits for it.
            error: Why it failed.
            headers: The headers of the message: they tell the job's place in a batch, and its
                callback.
        """
        documents = {id_: failed(id_, error) for id_ in job_ids}
        place, callback = place_in(headers), None
        if CALLBACK_HEADER in headers and self._may_follow(headers, error):
            callback = self._callback(headers, JobEnd.of(job_ids[0], error))
        self._unstored.append(
            _Completed(
                [],
                documents,
                {job_ids[0]: place} if place else {},
                {job_ids[0]: callback} if callback else {},
            )
        )
        self.flush()

    def flush(self) -> bool:
        """Store and acknowledge what is not stored yet, unless Redis failed a moment ago; return
        whether everything is stored."""
        while self._unstored:
            if self._store_pause.remaining_s or not self._store(self._unstored[0]):
                return False
            self._report(self._unstored.popleft())
        return True

    def finish(self, *, within_s: float) -> bool:
        """Let Celery finish jobs, in order, and at least one unless Redis failed a moment ago;
        return whether all are finished.

        Args:
            within_s: After so many seconds no other job is begun.
        """
        if not self._handbacks:
            return True
        is_time_left, until = self._may_finish(), time.monotonic() + within_s
        while self._handbacks and is_time_left:
            job, handback, result, started_at_s = self._handbacks.popleft()
            handback.resume(result, self._connection)
            self._count([(job, result)], started_at_s)
            is_time_left = time.monotonic() < until
        return not self._handbacks

    @property
    def handed_back(self) -> int:
        """The number of jobs that Celery has yet to finish."""
        return len(self._handbacks)

    @property
    def retry_in_s(self) -> float:
        """In how many seconds `flush`, and `finish` once that has stored everything, may go on."""
        return (self._store_pause if self._unstored else self._finish_pause).remaining_s

    @property
    def unstored_jobs(self) -> Iterator[InFlightJob]:
        """The plain jobs whose results are neither stored nor acknowledged."""
        plain = chain.from_iterable(completed.plain for completed in tuple(self._unstored))
        return (job for job, _ in plain)

    def _store(self, completed: _Completed) -> bool:
        """Store and acknowledge; return whether Redis did."""
        if self._acknowledger is None:
            raise RuntimeError("no connection: Completion.attach comes first")
        jobs = [job for job, _ in completed.plain]
        try:
            self._acknowledger.store_and_acknowledge(
                with_duplicates(jobs),
                completed.documents,
                completed.places,
                completed.callbacks,
            )
        except redis.RedisError as error:
            unstored = sum(len(each.plain) for each in self._unstored)
            self._store_pause.begin(error, jobs=unstored)
            return False
        self._store_pause.end()
        self._duplicates.remove(jobs)
        return True

    def _may_finish(self) -> bool:
        """Return whether Redis can store what Celery writes."""
        if self._finish_pause.remaining_s:
            return False
        try:
            if not self._result_store.may_write():
                raise OutOfMemoryError("Celery could not finish jobs")
        except redis.RedisError as error:
            self._finish_pause.begin(error, jobs=len(self._handbacks))
            return False
        self._finish_pause.end()
        return True

    def _report(self, completed: _Completed) -> None:
        """Count the jobs, tell monitors, and end the span of the batch."""
        self._count(completed.plain, completed.started_at_s)
        if completed.trace is not None:
            completed.trace.end()
        self._events.completed(completed.plain, runtime_s=completed.runtime_s)

    def _count(
        self, results: Sequence[tuple[InFlightJob, JobResult]], started_at_s: float | None
    ) -> None:
        since_s = 0.0 if started_at_s is None else max(0.0, time.time() - started_at_s)
        self._counts.add_completed(results, since_start_s=since_s)

    def _may_follow(self, headers: Headers, error: Exception) -> bool:
        """Return whether a callback may follow a dead letter: not if it is why the message became
        one, nor if the message is no job of sentq."""
        is_job = headers.get("task") == TASK_NAME and not isinstance(error, LinkRefused)
        return is_job and self._job_callbacks.allows(headers)

    def _callback(self, headers: Headers, end: JobEnd) -> CallbackMessage | None:
        return self._job_callbacks.message(headers[CALLBACK_HEADER], end)


def _document(job_id: str, stored: Mapping[str, object] | Exception, now: str) -> bytes:
    if not isinstance(stored, Exception):
        return succeeded(job_id, stored, at=now)
    is_revoked = isinstance(stored, TaskRevokedError)
    return failed(job_id, stored, status="REVOKED" if is_revoked else "FAILURE")
