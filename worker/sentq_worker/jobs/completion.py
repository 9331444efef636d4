"""Completing jobs: the one path from results to Redis, to monitors and to Celery.

    complete    results of jobs -> their documents, in a queue
    flush         -> each entry of the queue, in order:
    _store           -> documents stored and messages acknowledged (`Acknowledger`)
    _report          -> events of plain jobs; Celery finishes the others

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
from typing import Final

import redis
from celery.exceptions import TaskRevokedError
from redis.exceptions import OutOfMemoryError

from sentq.contract import BATCH_HEADER
from sentq.wire.batches import BatchPlace, place_in
from sentq_worker.backoff import jittered_s
from sentq_worker.broker.protocols import JobConsumer
from sentq_worker.broker.results import ResultStore, failed, now_iso, succeeded
from sentq_worker.jobs.ack_handles import CeleryHandback
from sentq_worker.jobs.acknowledge import Acknowledger
from sentq_worker.jobs.events import TaskEvents
from sentq_worker.jobs.in_flight import DuplicateDeliveries, InFlightJob, with_duplicates
from sentq_worker.jobs.outcomes import JobResult, SealResult

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
    """Jobs whose results are known.

    Attributes:
        plain: The jobs that are acknowledged here, with their results.
        documents: What is stored, by job id.
        places: The places of those that belong to batches, by job id.
        handbacks: The jobs that Celery finishes, with their results.
        runtime_s: How long they were in the engine, as events say it.
    """

    plain: Sequence[tuple[InFlightJob, JobResult]]
    documents: Mapping[str, bytes]
    places: Mapping[str, BatchPlace]
    handbacks: Sequence[tuple[CeleryHandback, JobResult]] = ()
    runtime_s: float = 0.0


class Completion:
    """Completes jobs, on one connection after the other. Lives as long as the worker.

    Args:
        store: Stores results.
        events: Sends the events of plain jobs.
        duplicates: Knows which jobs are in flight. Completed ones are removed from it.
        seal_result: Encrypts outcomes, if the worker does that.
    """

    def __init__(
        self,
        store: ResultStore,
        events: TaskEvents,
        duplicates: DuplicateDeliveries,
        seal_result: SealResult,
    ) -> None:
        self._result_store = store
        self._seal_result = seal_result
        self._events = events
        self._duplicates = duplicates
        self._connection = 0
        self._acknowledger: Acknowledger | None = None
        self._unstored: deque[_Completed] = deque()
        self._failures = 0
        self._not_before = 0.0
        self._log_at = 0.0
        #: The number of completed jobs.
        self.count = 0

    def attach(self, consumer: JobConsumer, connection: int) -> None:
        """Go on with a new connection."""
        self._connection = connection
        self._acknowledger = Acknowledger(self._result_store, consumer, connection)

    def complete(
        self, results: Sequence[tuple[InFlightJob, JobResult]], *, runtime_s: float = 0.0
    ) -> None:
        """Complete jobs with their results; store these now, if Redis can.

        Args:
            results: Each job with its outcomes, or with the error for which it failed;
                TaskRevokedError is the one of a revoked job.
            runtime_s: How long the jobs were in the engine.
        """
        plain: list[tuple[InFlightJob, JobResult]] = []
        handbacks: list[tuple[CeleryHandback, JobResult]] = []
        documents: dict[str, bytes] = {}
        places: dict[str, BatchPlace] = {}
        now = now_iso()
        for job, result in results:
            if isinstance(job.ack_handle, CeleryHandback):
                handbacks.append((job.ack_handle, result))
                continue
            plain.append((job, result))
            if not job.ignores_result:
                documents[job.id] = self._document(job.id, result, now)
                if BATCH_HEADER in job.headers and (place := place_in(job.headers)):
                    places[job.id] = place
        self._unstored.append(_Completed(plain, documents, places, handbacks, runtime_s))
        self.flush()

    def fail_dead_letter(
        self, job_ids: Sequence[str], error: Exception, place: BatchPlace | None
    ) -> None:
        """Store that a job failed whose message is dead-lettered, and what waits for it.

        Args:
            job_ids: The id of the job, then those of what waits for it.
            error: Why it failed.
            place: The place of the job in a batch, if it belongs to one.
        """
        documents = {id_: failed(id_, error) for id_ in job_ids}
        self._unstored.append(_Completed([], documents, {job_ids[0]: place} if place else {}))
        self.flush()

    def flush(self) -> bool:
        """Store and acknowledge what is not stored yet, unless Redis failed a moment ago; return
        whether everything is stored."""
        while self._unstored:
            if time.monotonic() < self._not_before or not self._store(self._unstored[0]):
                return False
            self._report(self._unstored.popleft())
        return True

    @property
    def retry_in_s(self) -> float:
        """In how many seconds Redis may be asked again."""
        return max(0.0, self._not_before - time.monotonic())

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
            if completed.handbacks and not self._result_store.may_write():
                raise OutOfMemoryError("Celery could not finish jobs")
            self._acknowledger.store_and_acknowledge(
                with_duplicates(jobs), completed.documents, completed.places
            )
        except redis.RedisError as error:
            self._failures += 1
            delay_s = jittered_s(self._failures, least_s=_MIN_RETRY_S, most_s=_MAX_RETRY_S)
            self._not_before = time.monotonic() + delay_s
            self._log(error)
            return False
        self._failures = 0
        self._duplicates.remove(jobs)
        return True

    def _log(self, error: redis.RedisError) -> None:
        """Log why outcomes are kept, from time to time."""
        if self._failures > 1 and time.monotonic() < self._log_at:
            return
        self._log_at = time.monotonic() + _LOG_INTERVAL_S
        jobs = sum(len(each.plain) + len(each.handbacks) for each in self._unstored)
        reason = type(error).__name__
        if isinstance(error, OutOfMemoryError):
            reason = "Redis is at its maxmemory: raise it, or wait until outcomes expire"
        logger.warning("outcomes of %d jobs cannot be stored now (%s)", jobs, reason)

    def _report(self, completed: _Completed) -> None:
        """Tell monitors, and let Celery finish the jobs that are not plain."""
        self.count += len(completed.plain) + len(completed.handbacks)
        self._events.completed(completed.plain, runtime_s=completed.runtime_s)
        for handback, result in completed.handbacks:
            handback.resume(result, self._connection)

    def _document(self, job_id: str, result: JobResult, now: str) -> bytes:
        if not isinstance(result, Exception):
            return succeeded(job_id, self._seal_result(job_id, result), at=now)
        is_revoked = isinstance(result, TaskRevokedError)
        return failed(job_id, result, status="REVOKED" if is_revoked else "FAILURE")
