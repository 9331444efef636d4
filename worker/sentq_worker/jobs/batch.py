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
from sentq_worker.jobs.completion import Answers
from sentq_worker.jobs.executor import Scored, Service
from sentq_worker.jobs.handback import Ending
from sentq_worker.jobs.in_flight import HeldJob
from sentq_worker.jobs.pause import Pause
from sentq_worker.jobs.pending import Waiting
from sentq_worker.jobs.retry import retry_after_s, unavailable_s

__all__ = ["Round", "Verdicts"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs that are scored as one."""

    jobs: list[HeldJob]
    future: Future[Scored]
    started_at_s: float


class Verdicts:
    """Decides what becomes of the jobs of a round, and has it done."""

    def __init__(self, service: Service, waiting: Waiting, answers: Answers, pause: Pause) -> None:
        self._service = service
        self._waiting = waiting
        self._answers = answers
        self._pause = pause

    def conclude(self, round_: Round) -> None:
        """End the jobs of a round that left the engine, or let them wait for another.

        Raises:
            WorkerShutdown: The device is lost.
        """
        error = round_.future.exception()
        if isinstance(error, SystemExit):
            with contextlib.suppress(redis.RedisError):  # Then their leases lapse.
                self._answers.finisher.give_back_lost(round_.jobs, "its worker's device was lost")
            raise error
        if isinstance(error, EngineUnavailable):
            for job in round_.jobs:
                self._count_try(job)
            self._waiting.put_back(round_.jobs)
            self._pause.begin(error)
            return
        self._pause.end()
        if error:
            self._fail(round_.jobs, ScoringFailed.from_error(error))
        else:
            runtime_s = time.time() - round_.started_at_s
            self.answer(round_.jobs, round_.future.result(), runtime_s=runtime_s)

    def answer(self, jobs: Sequence[HeldJob], scored: Scored, *, runtime_s: float) -> None:
        """Answer jobs, but for those that are tried again later."""
        outcomes = self._service.outcomes(scored, ((job.id, job.attempts) for job in jobs))
        endings: list[tuple[HeldJob, Ending]] = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, EngineUnavailable):
                self._count_try(job)
                self._waiting.add_later(job, unavailable_s(outcome, job.tries))
                continue
            delay_s = retry_after_s(outcome, job.shortages + 1)
            if delay_s is None:
                endings.append((job, outcome))
            else:
                self._count_try(job)
                job.shortages += 1
                self._waiting.add_later(job, delay_s)
        self._answers.end(
            endings, lambda plain: self._answers.announcer.succeeded(plain, runtime_s=runtime_s)
        )
        logger.debug("%d jobs answered after %.3f s", len(endings), runtime_s)

    def _count_try(self, job: HeldJob) -> None:
        """Count a round that gave this job no answer, so that it waits for another."""
        job.tries += 1
        if job.is_suspect:
            self._answers.finisher.unmark(job)

    def _fail(self, jobs: Sequence[HeldJob], error: ScoringFailed) -> None:
        logger.error("round of %d jobs failed: %s", len(jobs), error)
        self._answers.end(
            [(job, error) for job in jobs],
            lambda plain: self._answers.announcer.failed(plain, error),
        )
