"""How jobs end: the document that is stored, the event that is sent, the task that Celery runs.

It is worse to lose a job than to run it twice, and worst to answer it twice differently. So a
job is acknowledged with its outcome or after it, never before; and what Redis does not store now
is kept, in order, until it does.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import redis
from celery.exceptions import TaskRevokedError

from sentq_worker.backoff import jittered_s
from sentq_worker.broker.results import ResultStore, failed, now_iso, succeeded
from sentq_worker.jobs.acknowledge import Acknowledger
from sentq_worker.jobs.duplicates import DuplicateDeliveries, with_duplicates
from sentq_worker.jobs.events import TaskEvents
from sentq_worker.jobs.handback import CeleryHandback, JobResult
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["Completion"]

logger = logging.getLogger(__name__)

#: How long to wait before Redis is asked again to store what it did not: a connection that was
#: cut is made anew at once, a Redis that is away is not to be hammered.
_AGAIN_LEAST_S: Final = 0.1
_AGAIN_MOST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Ended:
    """Jobs that are over, their documents by job id, and what to do when those are stored."""

    jobs: Sequence[InFlightJob]
    documents: Mapping[str, bytes]
    then: Callable[[], object]


class Completion:
    """Ends jobs, on one connection after the other. Lives as long as the worker.

    Args:
        store: Keeps outcomes.
        copies: Knows which jobs are held; told of those that no longer are.
    """

    def __init__(self, store: ResultStore, duplicates: DuplicateDeliveries) -> None:
        self._store = store
        self._duplicates = duplicates
        self._connection = 0
        self._acknowledger: Acknowledger | None = None
        self._unstored: deque[_Ended] = deque()
        self._failures = 0
        self._not_before = 0.0
        #: How many jobs have ended.
        self.count = 0
        self.task_events = TaskEvents()

    def attach(self, consumer: Any, connection: int) -> None:
        """Go on with a new connection."""
        self._connection = connection
        self._acknowledger = Acknowledger(self._store, consumer, connection)
        self.task_events = TaskEvents(consumer.event_dispatcher)

    def end(
        self,
        endings: Sequence[tuple[InFlightJob, JobResult]],
        announce: Callable[[list[InFlightJob]], object],
    ) -> None:
        """Give jobs their outcomes or errors.

        Args:
            endings: The jobs, each with how it ended.
            announce: Sends the events of the plain ones; those of the others are Celery's.
        """
        plain = [job for job, _ in endings if job.is_plain]
        now = now_iso()
        documents = {
            job.id: _document(job.id, ending, now)
            for job, ending in endings
            if job.is_plain and not job.ignores_result
        }

        def then() -> None:
            announce(plain)
            self.count += len(endings) - len(plain)
            for job, ending in endings:
                # What an older connection delivered is delivered again: its end is Celery's.
                if (
                    isinstance(job.ack_handle, CeleryHandback)
                    and job.connection == self._connection
                ):
                    job.ack_handle.resume(ending)

        self._end(_Ended(plain, documents, then))

    def refuse(self, job: InFlightJob, error: Exception) -> None:
        """End a job, plain or not, that breaks the contract as a whole."""
        documents = {} if job.ignores_result else {job.id: failed(job.id, error)}
        self._end(_Ended([job], documents, lambda: self.task_events.failed([job], error)))

    def refuse_id(self, job_id: str, error: Exception) -> None:
        """Store that a job failed whose message is buried."""
        self._end(_Ended([], {job_id: failed(job_id, error)}, lambda: None))

    def revoke(self, jobs: Sequence[InFlightJob]) -> None:
        """End plain jobs that were revoked before they were scored."""
        error = TaskRevokedError("revoked")
        documents = {
            job.id: failed(job.id, error, status="REVOKED")
            for job in jobs
            if not job.ignores_result
        }
        self._end(_Ended(jobs, documents, lambda: self.task_events.revoked(jobs)))

    @property
    def acknowledger(self) -> Acknowledger:
        """What ends jobs on the connection that there is now."""
        if self._acknowledger is None:
            raise RuntimeError("no connection: Answers.attach comes first")
        return self._acknowledger

    @property
    def jobs(self) -> Iterator[InFlightJob]:
        """The jobs that are over, and neither stored nor acknowledged."""
        return chain.from_iterable(ended.jobs for ended in tuple(self._unstored))

    def store(self) -> bool:
        """Store and acknowledge what is not yet, unless Redis failed to a moment ago; returns
        whether nothing is left."""
        while self._unstored:
            if time.monotonic() < self._not_before or not self._finish(self._unstored[0]):
                return False
            self._unstored.popleft().then()
        return True

    @property
    def again_in_s(self) -> float:
        """In how many seconds Redis may be asked again."""
        return max(0.0, self._not_before - time.monotonic())

    def _end(self, ended: _Ended) -> None:
        self._unstored.append(ended)
        self.store()

    def _finish(self, ended: _Ended) -> bool:
        try:
            self.acknowledger.finish(with_duplicates(ended.jobs), ended.documents)
        except redis.RedisError as error:
            self._failures += 1
            delay_s = jittered_s(self._failures, least_s=_AGAIN_LEAST_S, most_s=_AGAIN_MOST_S)
            self._not_before = time.monotonic() + delay_s
            logger.warning(
                "outcomes of %d jobs cannot be stored now (%s)",
                len(ended.documents),
                type(error).__name__,
            )
            return False
        self._failures = 0
        self.count += len(ended.jobs)
        self._duplicates.forget(ended.jobs)
        return True


def _document(job_id: str, ending: JobResult, now: str) -> bytes:
    if isinstance(ending, Exception):
        return failed(job_id, ending)
    return succeeded(job_id, ending, at=now)
