"""The executor of batches: the provider of scores, loaded once, and the thread that it runs in."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from celery.exceptions import WorkerShutdown

from sentq.contract import Outcome
from sentq_worker.engine.base import DeviceLost, EngineInfo, EngineUnavailable
from sentq_worker.engine.provider import (
    BreakerStates,
    Provider,
    ProviderJob,
    ProviderReply,
    ScoredJob,
)
from sentq_worker.exit_codes import EX_UNAVAILABLE
from sentq_worker.jobs.outcomes import ScoredBatch
from sentq_worker.settings import WorkerSettings

__all__ = ["BatchExecutor"]

logger = logging.getLogger(__name__)

#: The limits of the delay after which all providers are asked again.
_MIN_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 10.0


class BatchExecutor:
    """Loads the engine when the worker starts, and runs it in a thread of its own, so that
    Celery's loop goes on meanwhile.

    Args:
        settings: The worker's.
        provider: Scores jobs.
    """

    def __init__(self, settings: WorkerSettings, provider: Provider) -> None:
        self.settings = settings
        self._provider = provider
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sentq-engine")
        self._last: Future[ScoredBatch] | None = None
        self._began_at: float | None = None

    def start(self) -> None:
        """Load the model.

        Raises:
            EngineError: It cannot be loaded.
        """
        self._provider.start()

    def stop(self) -> None:
        """Stop the engine's thread after the batch that it scores now."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._provider.stop()

    @property
    def info(self) -> EngineInfo:
        """The engine that scores.

        Raises:
            RuntimeError: No engine scores at the moment: a model is being loaded.
        """
        return self._provider.info

    @property
    def breaker_states(self) -> BreakerStates:
        """The states of the breakers."""
        return self._provider.breaker_states

    def submit(self, jobs: Sequence[ProviderJob]) -> Future[ScoredBatch]:
        """Score jobs as one batch in the engine's thread.

        Returns:
            The outcomes to come; EngineUnavailable if the jobs must wait; WorkerShutdown if the
            device was lost. That is a SystemExit: raised in Celery's loop or in a task's body it
            ends the worker, and no job of the batch is acknowledged.
        """
        self._last = self._thread.submit(self._score, jobs)
        return self._last

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """Preprocess the texts of jobs that will probably be the next batch, while this one is
        scored. Returns at once."""
        if jobs:
            self._provider.prefetch(jobs)

    @property
    def is_busy(self) -> bool:
        """Whether the engine scores a batch."""
        return self._last is not None and self._last.running()

    def busy_s(self) -> float:
        """Return for how many seconds the engine has scored its batch; 0 if it is idle."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    @property
    def is_lost(self) -> bool:
        """Whether the device is lost, so that the engine can score no batch any more."""
        last = self._last
        return last is not None and last.done() and isinstance(last.exception(), WorkerShutdown)

    def _score(self, jobs: Sequence[ProviderJob]) -> ScoredBatch:
        started_at_s, started = time.time(), time.perf_counter()
        self._began_at = time.monotonic()
        try:
            replies = self._provider.score(jobs)
        except DeviceLost as error:
            logger.critical(
                "the device is lost: %s. The jobs in flight go back to the queue. Check the logs "
                "of the driver and the kernel (nvidia-smi, dmesg), and start a new worker",
                error,
            )
            raise WorkerShutdown(EX_UNAVAILABLE) from error
        finally:
            self._began_at = None
        if not self._provider.is_usable:
            _raise_if_all_wait(replies)
        return ScoredBatch(replies, started_at_s, (time.perf_counter() - started) * 1000)

    def without_engine(self, jobs: Sequence[list[Outcome]]) -> ScoredBatch:
        """Return a batch of outcomes that need no engine, those of each job in order."""
        info = self.info
        return ScoredBatch([ScoredJob(outcomes, info) for outcomes in jobs], time.time(), 0.0)


def _raise_if_all_wait(replies: Sequence[ProviderReply]) -> None:
    """Raise the reason why all jobs of a batch wait.

    The delay is limited: to ask again costs little, because each provider keeps its own backoff,
    and another one may be available sooner."""
    waiting = [reply for reply in replies if isinstance(reply, EngineUnavailable)]
    if waiting and len(waiting) == len(replies):
        first = waiting[0]
        after_s = first.retry_after_s
        if after_s is not None:
            after_s = min(max(after_s, _MIN_RETRY_S), _MAX_RETRY_S)
        raise EngineUnavailable(str(first), retry_after_s=after_s)
