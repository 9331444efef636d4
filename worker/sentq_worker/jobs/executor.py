"""The executor of batches: the provider of scores, loaded once, and the thread that it runs in.

One thread computes all batches in the engine, in steps. Between two steps it may turn to another
batch (`engine.time_slices`), so a large job keeps no small one waiting for long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from celery.exceptions import WorkerShutdown

from sentq.contract import Outcome
from sentq.wire.roll.report import RollReport
from sentq.wire.roll.state import RollState
from sentq_worker.engine.base import DeviceLost, EngineInfo, EngineUnavailable
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.engine.provider import (
    BreakerStates,
    Provider,
    ProviderJob,
    ProviderReply,
    ScoredJob,
    SupportsProgress,
    SupportsRoll,
    models_of,
    provider_steps,
    roll_of,
)
from sentq_worker.engine.steps import Steps
from sentq_worker.engine.time_slices import TimeSlices
from sentq_worker.exit_codes import EX_UNAVAILABLE
from sentq_worker.jobs.outcomes import ScoredBatch
from sentq_worker.settings import WorkerSettings
from sentq_worker.tracing.batches import BatchTrace, traced_steps

__all__ = ["BatchExecutor", "BatchFuture"]

logger = logging.getLogger(__name__)

#: The limits of the delay after which all providers are asked again.
_MIN_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 10.0


class BatchFuture(Future[ScoredBatch]):
    """The outcomes of a batch, to come. `slices` counts the slices of `yield_after_s` for which
    the batch has computed so far; `computed_s` is how long it has computed, once it is scored."""

    slices = 0
    computed_s = 0.0


@dataclass(eq=False, slots=True)
class _RunningBatch:
    """A batch in the engine. See `Sliced`."""

    steps: Steps[list[ProviderReply]]
    future: BatchFuture
    on_slice: Callable[[], object]
    started_at_s: float = 0.0
    computed_s: float = 0.0
    is_long: bool = False


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
        self._slices: TimeSlices[_RunningBatch] = TimeSlices(slice_s=settings.yield_after_s)
        #: In the order in which they were submitted. Added by the loop, removed by the engine.
        self._running: list[_RunningBatch] = []
        self._progress_at: float | None = None
        #: How long all steps took, and when the one that runs now began. A tuple, so that another
        #: thread reads both of one moment.
        self._busy: tuple[float, float | None] = (0.0, None)
        self._is_stopped = False
        #: Whether the device is lost, so that the engine can score no batch any more.
        self.is_lost = False

    def start(self) -> None:
        """Load the model.

        Raises:
            EngineError: It cannot be loaded.
        """
        self._provider.start()

    def stop(self) -> None:
        """Stop the engine's thread after the step that it computes now."""
        self._is_stopped = True
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
    def models(self) -> Mapping[str, EngineInfo]:
        """The engines of all models, by the names under which jobs ask for them; none while a model
        is being loaded, or if there is no local one."""
        return models_of(self._provider)

    @property
    def roll(self) -> RollReport | None:
        """What it does for a roll; None if no model can be rolled."""
        return roll_of(self._provider)

    def follow(self, state: RollState, *, waits: bool = False) -> None:
        """See `SupportsRoll`."""
        if isinstance(self._provider, SupportsRoll):
            self._provider.follow(state, waits=waits)

    @property
    def breaker_states(self) -> BreakerStates:
        """The states of the breakers."""
        return self._provider.breaker_states

    def submit(
        self,
        jobs: Sequence[ProviderJob],
        *,
        on_slice: Callable[[], object] = lambda: None,
        trace: BatchTrace | None = None,
    ) -> BatchFuture:
        """Score jobs as one batch in the engine's thread.

        Args:
            jobs: The jobs.
            on_slice: Called in that thread, after each slice for which the batch has computed.
            trace: The span of the batch, if it is recorded.

        Returns:
            The outcomes to come; EngineUnavailable if the jobs must wait; WorkerShutdown if the
            device was lost. That is a SystemExit: raised in Celery's loop or in a task's body it
            ends the worker, and no job of the batch is acknowledged.
        """
        steps = traced_steps(trace, provider_steps(self._provider, jobs))
        batch = _RunningBatch(steps, BatchFuture(), on_slice)
        self._running.append(batch)
        # The thread may have computed this batch, together with an earlier one, before it comes
        # to this call.
        self._thread.submit(self._compute)
        return batch.future

    def prefetch(self, jobs: Sequence[ProviderJob]) -> None:
        """Preprocess the texts of jobs that will probably be the next batch, while this one is
        scored. Returns at once."""
        if jobs:
            self._provider.prefetch(jobs)

    @property
    def is_busy(self) -> bool:
        """Whether the engine scores a batch."""
        return bool(self._running)

    @property
    def busy_s(self) -> float:
        """For how many seconds the engine has computed since the worker started."""
        busy_s, began_at = self._busy
        return busy_s + (0.0 if began_at is None else time.monotonic() - began_at)

    @property
    def counts(self) -> EngineCounts:
        """See `SupportsCounts`."""
        return counts_of(self._provider)

    def stalled_s(self) -> float:
        """Return for how many seconds the engine has made no progress: it finished no step, and
        the Hub no call; 0 if it is idle."""
        progress_at = self._progress_at
        if progress_at is None:
            return 0.0
        if isinstance(self._provider, SupportsProgress):
            progress_at = max(progress_at, self._provider.progress_at)
        return time.monotonic() - progress_at

    def _compute(self) -> None:
        """Compute all batches in the engine, step by step. Runs in the engine's thread."""
        while self._running and not self._is_stopped:
            self._step(self._slices.choose(self._running))
        self._progress_at = None

    def _step(self, batch: _RunningBatch) -> None:
        """Compute one step of a batch, and finish the batch if that was the last one."""
        batch.started_at_s = batch.started_at_s or time.time()
        self._progress_at = began_at = time.monotonic()
        self._busy = (self._busy[0], began_at)
        try:
            next(batch.steps)
        except StopIteration as stop:
            self._charge(batch, began_at)
            self._finish(batch, stop.value)
        except BaseException as error:  # noqa: BLE001 - the future raises it in the loop
            self._charge(batch, began_at)
            self._fail(batch, error)
        else:
            self._charge(batch, began_at)
            self._count_slices(batch)

    def _charge(self, batch: _RunningBatch, began_at: float) -> None:
        is_alone = len(self._running) == 1
        step_s = time.monotonic() - began_at
        self._busy = (self._busy[0] + step_s, None)
        self._slices.charge(batch, step_s, is_alone=is_alone)

    def _count_slices(self, batch: _RunningBatch) -> None:
        slices = int(batch.computed_s / self.settings.yield_after_s)
        if slices > batch.future.slices:
            batch.future.slices = slices
            try:
                batch.on_slice()
            except Exception:
                logger.exception("the loop was not told that a batch computes for long")

    def _finish(self, batch: _RunningBatch, replies: list[ProviderReply]) -> None:
        if not self._provider.is_usable:
            try:
                _raise_if_all_wait(replies)
            except EngineUnavailable as error:
                self._fail(batch, error)
                return
        self._running.remove(batch)
        batch.future.computed_s = batch.computed_s
        ms = batch.computed_s * 1000
        batch.future.set_result(ScoredBatch(replies, batch.started_at_s, ms))

    def _fail(self, batch: _RunningBatch, error: BaseException) -> None:
        self._running.remove(batch)
        batch.future.computed_s = batch.computed_s
        if isinstance(error, DeviceLost):
            error = self._lose_device(error)
        batch.future.set_exception(error)

    def _lose_device(self, error: DeviceLost) -> WorkerShutdown:
        """The engine computes no other batch: only the one that lost the device may be to
        blame, and the jobs of the others go back to the queue."""
        self.is_lost = True
        self._running.clear()
        logger.critical(
            "the device is lost: %s. The jobs in flight go back to the queue. Check the logs "
            "of the driver and the kernel (nvidia-smi, dmesg), and start a new worker",
            error,
        )
        shutdown = WorkerShutdown(EX_UNAVAILABLE)
        shutdown.__cause__ = error
        return shutdown

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
