"""The scoring service of one worker process: the engine, loaded once, and the thread it runs in."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from celery.exceptions import WorkerShutdown

from sentq.contract import JobRequest, Limits, Outcome, check_count
from sentq.wire.ids import sent_at_ms
from sentq_worker.engine.base import DeviceLost, EngineInfo, EngineUnavailable
from sentq_worker.engine.provider import (
    BreakerStates,
    Provider,
    ProviderJob,
    ProviderReply,
    ScoredJob,
)
from sentq_worker.exit_codes import EX_UNAVAILABLE
from sentq_worker.settings import WorkerSettings

__all__ = ["BatchExecutor", "ScoredBatch"]

logger = logging.getLogger(__name__)

_SOONEST_S: Final = 0.2
_ASK_AGAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A round of jobs that went through the engine as one."""

    replies: Sequence[ProviderReply]
    started_at_s: float
    inference_ms: float


class BatchExecutor:
    """Loads the engine when the worker starts, and runs it in a thread of its own, so that
    Celery's loop goes on meanwhile."""

    def __init__(self, settings: WorkerSettings, limits: Limits, provider: Provider) -> None:
        self.settings = settings
        self.limits = limits
        self._provider = provider
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-engine")
        self._last: Future[ScoredBatch] | None = None
        self._began_at: float | None = None

    def start(self) -> None:
        """Load the model.

        Raises:
            EngineError: It cannot be had.
        """
        self._provider.start()

    def stop(self) -> None:
        """Let the engine's thread end after what it is doing."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._provider.stop()

    @property
    def info(self) -> EngineInfo:
        """Who answers.

        Raises:
            RuntimeError: Nobody at the moment: a model is being loaded.
        """
        return self._provider.info

    @property
    def breaker_states(self) -> BreakerStates:
        """What keeps jobs from an engine, or does not."""
        return self._provider.breaker_states

    def submit(self, jobs: Sequence[ProviderJob]) -> Future[ScoredBatch]:
        """Score jobs as one round in the engine's thread.

        Returns:
            The outcomes to come; EngineUnavailable where the jobs must wait; WorkerShutdown
            where the device was lost. That is a SystemExit: raised in Celery's loop or in a
            task's body it ends the worker, and nothing of the round is acknowledged.
        """
        self._last = self._thread.submit(self._score, jobs)
        return self._last

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """Read the texts of jobs that will probably be the next round, while this one is scored.
        Returns at once."""
        if jobs:
            self._provider.prefetch(jobs)

    @property
    def is_busy(self) -> bool:
        """Whether the engine computes something."""
        return self._last is not None and self._last.running()

    def busy_s(self) -> float:
        """How long the engine has computed what it computes, in seconds; 0 where it is idle."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    @property
    def is_lost(self) -> bool:
        """Whether the engine will never compute anything again."""
        last = self._last
        return last is not None and last.done() and isinstance(last.exception(), WorkerShutdown)

    def _score(self, jobs: Sequence[ProviderJob]) -> ScoredBatch:
        started_at_s, started = time.time(), time.perf_counter()
        self._began_at = time.monotonic()
        try:
            replies = self._provider.score(jobs)
        except DeviceLost as error:
            logger.critical(
                "the device is lost: %s. What this worker holds goes back to the queue. Look at "
                "the driver's and the kernel's log (nvidia-smi, dmesg), and start a new worker",
                error,
            )
            raise WorkerShutdown(EX_UNAVAILABLE) from error
        finally:
            self._began_at = None
        if not self._provider.is_usable:
            _raise_where_all_wait(replies)
        return ScoredBatch(replies, started_at_s, (time.perf_counter() - started) * 1000)

    def without_engine(self, jobs: Sequence[list[Outcome]]) -> ScoredBatch:
        """Jobs that need no engine to be answered."""
        info = self.info
        return ScoredBatch([ScoredJob(outcomes, info) for outcomes in jobs], time.time(), 0.0)

    def outcomes(
        self, scored: ScoredBatch, jobs: Iterable[tuple[str, int]]
    ) -> Iterator[dict[str, Any] | EngineUnavailable]:
        """What `JobOutcome`s hold, for the jobs of a round: each one's id and attempts; or why a
        job has none yet.

        Not the model itself: it would be validated and dumped again for each job, which takes
        longer than everything else about a small one. A test reads it as a `JobOutcome`.
        """
        started_at_ms = scored.started_at_s * 1000
        for (job_id, attempts), reply in zip(jobs, scored.replies, strict=True):
            if isinstance(reply, EngineUnavailable):
                yield reply
                continue
            info, sent_ms = reply.info, sent_at_ms(job_id)
            yield {
                "outcomes": [outcome.__dict__ for outcome in reply.outcomes],
                "model": info.model,
                "revision": info.revision,
                "backend": info.backend,
                "dtype": info.dtype,
                "attempts": attempts,
                "queued_ms": None if sent_ms is None else max(0.0, started_at_ms - sent_ms),
                "inference_ms": scored.inference_ms,
            }

    def texts(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[object]:
        """The texts of a job's message.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
        """
        if len(args) == 1 and not kwargs and isinstance(args[0], list):
            texts = args[0]  # Nearly every job, and pydantic would copy it.
        else:
            texts = JobRequest.from_task(args, kwargs).texts
        check_count(len(texts), self.limits)
        return texts


def _raise_where_all_wait(replies: Sequence[ProviderReply]) -> None:
    """Raise what keeps all jobs of a round waiting. Asking again costs nothing where nobody is
    asked for long: something else may have changed by then."""
    waiting = [reply for reply in replies if isinstance(reply, EngineUnavailable)]
    if waiting and len(waiting) == len(replies):
        first = waiting[0]
        after_s = first.retry_after_s
        if after_s is not None:
            after_s = min(max(after_s, _SOONEST_S), _ASK_AGAIN_S)
        raise EngineUnavailable(str(first), retry_after_s=after_s)
