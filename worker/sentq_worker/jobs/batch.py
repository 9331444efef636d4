"""A batch of jobs that goes through the engine as one, and what it gave each of them.

Most jobs have a result afterwards. The others are tried again: all jobs of a batch for which the
engine was not available, at once and before other jobs; a job for which memory was short, or for
which the engine was not available alone, later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sentq.errors import OverLimit, ScoringFailed
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.jobs.executor import BatchFuture
from sentq_worker.jobs.in_flight import InFlightJob, named
from sentq_worker.jobs.outcomes import JobResult, ScoredBatch
from sentq_worker.jobs.retry import retry_delay_s, unavailable_delay_s
from sentq_worker.tracing.batches import BatchTrace

__all__ = ["BatchResults", "JobBatch", "results_of"]

logger = logging.getLogger(__name__)

#: For how many slices of `yield_after_s` a batch computes before bulk work may be scored beside it.
_SLICES_BEFORE_BULK: Final = 4


class BatchResults(NamedTuple):
    """What a batch gave: each of its jobs is in one of three lists.

    Attributes:
        results: Jobs with their results.
        retries: Jobs that are tried again, each with the delay in seconds.
        put_back: Jobs that are tried again as soon as the engine is available, in order.
        unavailable: Why the engine was not available for the batch as a whole.
        started_at_s: When it began in the engine, in Unix seconds; None if it gave no outcome.
    """

    results: Sequence[tuple[InFlightJob, JobResult]]
    retries: Sequence[tuple[InFlightJob, float]] = ()
    put_back: Sequence[InFlightJob] = ()
    unavailable: EngineUnavailable | None = None
    started_at_s: float | None = None

    @property
    def unfinished(self) -> list[InFlightJob]:
        """The jobs that are tried again."""
        return [*self.put_back, *(job for job, _ in self.retries)]


@dataclass(frozen=True, eq=False, slots=True)
class JobBatch:
    """Jobs that are scored as one, and the span of that, if it is recorded."""

    jobs: list[InFlightJob]
    future: BatchFuture
    started_at_s: float
    trace: BatchTrace | None = None

    def end_trace(self) -> None:
        """End its span, if it is recorded: it will not be completed."""
        if self.trace is not None:
            self.trace.end()

    def yields(self, *, to_bulk: bool) -> bool:
        """Return whether other jobs may be scored beside these, because these compute for long.

        Args:
            to_bulk: Whether the other jobs are bulk work, which waits for longer. Otherwise each
                two batches of bulk work would be scored side by side, and both end later.
        """
        slices = _SLICES_BEFORE_BULK if to_bulk else 1
        return self.future.slices >= slices and not self.jobs[0].is_suspect

    def results(self) -> BatchResults:
        """Return what the batch gave, once it is scored. Counts a try of unfinished jobs.

        Raises:
            WorkerShutdown: The device is lost.
        """
        error = self.future.exception()
        if isinstance(error, SystemExit):
            raise error
        if isinstance(error, EngineUnavailable):
            for job in self.jobs:
                job.tries += 1
            return BatchResults([], put_back=self.jobs, unavailable=error)
        if error is not None:
            failure = ScoringFailed.from_error(error)
            logger.error(
                "a batch of %d jobs failed: %s", len(self.jobs), failure, extra=named(self.jobs)
            )
            return BatchResults([(job, failure) for job in self.jobs])
        return results_of(self.jobs, self.future.result())


def results_of(jobs: Sequence[InFlightJob], scored: ScoredBatch) -> BatchResults:
    """Return what a scored batch gave these jobs. Counts a try of unfinished jobs."""
    results: list[tuple[InFlightJob, JobResult]] = []
    retries: list[tuple[InFlightJob, float]] = []
    outcomes = scored.outcomes((job.sent_at_ms, job.attempts) for job in jobs)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, EngineUnavailable):
            job.tries += 1
            retries.append((job, unavailable_delay_s(outcome, job.tries)))
            continue
        if isinstance(outcome, OverLimit):
            results.append((job, outcome))
            continue
        delay_s = retry_delay_s(outcome, job.shortages + 1)
        if delay_s is None:
            results.append((job, outcome))
        else:
            job.tries += 1
            job.shortages += 1
            retries.append((job, delay_s))
    return BatchResults(results, retries, started_at_s=scored.started_at_s)
