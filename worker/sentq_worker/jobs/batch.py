"""Jobs that went through the engine as one, and what becomes of each afterwards.

An answer, mostly. A job whose engine was away goes back to its place in front of the others; one
for which memory was short is tried again later; and where the device was lost all of them go
back to their queues.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import redis

from sentq.errors import ScoringFailed
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.jobs.completion import Completion
from sentq_worker.jobs.executor import BatchExecutor, ScoredBatch
from sentq_worker.jobs.handback import JobResult
from sentq_worker.jobs.in_flight import InFlightJob
from sentq_worker.jobs.pause import EngineBackoff
from sentq_worker.jobs.pending import PendingJobs
from sentq_worker.jobs.retry import retry_after_s, unavailable_s

__all__ = ["BatchResultHandler", "JobBatch"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobBatch:
    """Jobs that are scored as one."""

    jobs: list[InFlightJob]
    future: Future[ScoredBatch]
    started_at_s: float


class BatchResultHandler:
    """Decides what becomes of the jobs of a round, and has it done."""

    def __init__(
        self,
        service: BatchExecutor,
        waiting: PendingJobs,
        answers: Completion,
        pause: EngineBackoff,
    ) -> None:
        self._service = service
        self._pending = waiting
        self._completion = answers
        self._backoff = pause

    def conclude(self, batch: JobBatch) -> None:
        """End the jobs of a round that left the engine, or let them wait for another.

        Raises:
            WorkerShutdown: The device is lost.
        """
        error = batch.future.exception()
        if isinstance(error, SystemExit):
            with contextlib.suppress(redis.RedisError):  # Then their leases lapse.
                self._completion.acknowledger.requeue_lost(
                    batch.jobs, "its worker's device was lost"
                )
            raise error
        if isinstance(error, EngineUnavailable):
            for job in batch.jobs:
                self._count_try(job)
            self._pending.put_back(batch.jobs)
            self._backoff.begin(error)
            return
        self._backoff.end()
        if error:
            self._fail(batch.jobs, ScoringFailed.from_error(error))
        else:
            runtime_s = time.time() - batch.started_at_s
            self.answer(batch.jobs, batch.future.result(), runtime_s=runtime_s)

    def answer(self, jobs: Sequence[InFlightJob], scored: ScoredBatch, *, runtime_s: float) -> None:
        """Answer jobs, but for those that are tried again later."""
        outcomes = self._service.outcomes(scored, ((job.id, job.attempts) for job in jobs))
        endings: list[tuple[InFlightJob, JobResult]] = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, EngineUnavailable):
                self._count_try(job)
                self._pending.add_later(job, unavailable_s(outcome, job.tries))
                continue
            delay_s = retry_after_s(outcome, job.shortages + 1)
            if delay_s is None:
                endings.append((job, outcome))
            else:
                self._count_try(job)
                job.shortages += 1
                self._pending.add_later(job, delay_s)
        self._completion.end(
            endings,
            lambda plain: self._completion.task_events.succeeded(plain, runtime_s=runtime_s),
        )
        logger.debug("%d jobs answered after %.3f s", len(endings), runtime_s)

    def _count_try(self, job: InFlightJob) -> None:
        """Count a round that gave this job no answer, so that it waits for another."""
        job.tries += 1
        if job.is_suspect:
            self._completion.acknowledger.unmark(job)

    def _fail(self, jobs: Sequence[InFlightJob], error: ScoringFailed) -> None:
        logger.error("round of %d jobs failed: %s", len(jobs), error)
        self._completion.end(
            [(job, error) for job in jobs],
            lambda plain: self._completion.task_events.failed(plain, error),
        )
