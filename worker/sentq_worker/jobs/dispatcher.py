"""Jobs in hand: those that wait, and the round of them that is in the engine.

    add ── waiting ── round in the engine's thread ── answers: store and acknowledge

No timer: when the engine is idle a round starts with whatever is there, and while it is busy
the next one gathers. Everything here runs in Celery's loop, except the scoring itself.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import wait as wait_for
from itertools import chain
from typing import Any, Final

import redis

from sentq_worker.broker.clock import WorkerClock
from sentq_worker.broker.heartbeat import WorkerSnapshot
from sentq_worker.broker.results import ResultStore, started
from sentq_worker.jobs.batch import BatchResultHandler, JobBatch
from sentq_worker.jobs.completion import Completion
from sentq_worker.jobs.deadline import PASSED
from sentq_worker.jobs.duplicates import DuplicateDeliveries, with_duplicates
from sentq_worker.jobs.executor import BatchExecutor
from sentq_worker.jobs.in_flight import InFlightJob
from sentq_worker.jobs.loop import LoopCallbacks
from sentq_worker.jobs.pause import EngineBackoff
from sentq_worker.jobs.pending import DiscardedJobs, PendingJobs

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: A round that takes longer than this is said to run. Saying it costs as much as storing its
#: outcomes, and of a shorter one nobody would see it.
_SAY_RUNNING_AFTER_S: Final = 0.1

#: How often jobs that wait for the engine are looked through for those that are over.
_LOOK_S: Final = 1.0

#: How long to wait before Redis is asked again to mark a suspect.
_MARK_AGAIN_S: Final = 1.0

#: How often a worker that ends looks whether it is told to hurry.
_LOOK_FOR_HURRY_S: Final = 0.05


class Dispatcher:
    """Owns what was taken until it is answered. Lives as long as the worker.

    Args:
        service: Scores a round.
        store: Keeps its outcomes.
        clock: Tells deadlines.
        hostname: Said of jobs that run.
        round_chars: How much text makes a round, at most; a larger job runs alone. A single
            job waits behind one round of bulk work, so this is also its latency.
    """

    def __init__(
        self,
        service: BatchExecutor,
        store: ResultStore,
        clock: WorkerClock,
        *,
        hostname: str,
        batch_chars: int,
    ) -> None:
        self._service = service
        self._store = store
        self._hostname = hostname
        self._pending = PendingJobs(batch_chars=batch_chars)
        self._batch: JobBatch | None = None
        self._backoff = EngineBackoff()
        self._duplicates = DuplicateDeliveries()
        self._completion = Completion(store, self._duplicates)
        self._result_handler = BatchResultHandler(
            service, self._pending, self._completion, self._backoff
        )
        self._callbacks = LoopCallbacks(self._advance)
        #: By which deadlines are told.
        self.clock = clock
        #: The number of the connection that delivers now.
        self.connection = 0

    def attach(self, consumer: Any, hub: Any) -> None:
        """Join the event loop of a new connection. What an older one delivered is still scored
        and stored; if it went back to its queue meanwhile, its first outcome stays."""
        self.connection += 1
        self._completion.attach(consumer, self.connection)
        self._callbacks.attach(hub)

    @property
    def waiting(self) -> Iterable[InFlightJob]:
        """The jobs that wait for the engine, in order."""
        return tuple(self._pending)

    @property
    def running(self) -> JobBatch | None:
        """The jobs in the engine."""
        return self._batch

    def snapshot(self) -> WorkerSnapshot:
        """How the worker is doing. Any thread may ask."""
        batch, engine = self._batch, None
        with contextlib.suppress(RuntimeError):
            engine = self._service.info
        return WorkerSnapshot(
            jobs_finished=self._completion.count,
            in_flight_jobs=len(self._pending) + (len(batch.jobs) if batch else 0),
            engine=engine,
            breaker=self._service.breaker_states.hub,
            local_breaker=self._service.breaker_states.local,
            waiting_for=self._backoff.reason,
        )

    def in_flight_tags(self) -> set[str]:
        """Under which tags jobs are noted that can be finished on any connection."""
        running = self._batch.jobs if self._batch else ()
        jobs = with_duplicates([*chain(self._pending, running, self._completion.jobs)])
        return {job.ack_handle for job in jobs if isinstance(job.ack_handle, str)}

    def add(self, job: InFlightJob) -> None:
        """Take a job. It ends acknowledged, or goes back to the queue."""
        if job.is_plain:
            if self._duplicates.joins(job):
                return
            self._completion.task_events.received(job)
        self._pending.add(job)
        # Not while a round is computed: its end calls as well.
        if self._batch is None:
            self._callbacks.soon()

    def forget(self, tags: Collection[str]) -> None:
        """Let go of waiting plain jobs that are noted under these tags no more: this worker was
        taken for lost, and others have them."""
        if forgotten := self._pending.remove(tags):
            self._completion.acknowledger.let_go(forgotten)
            self._give_up(forgotten)
            logger.warning("%d jobs went to other workers: their leases lapsed", len(forgotten))

    def refuse(self, job: InFlightJob, error: Exception) -> None:
        """End a job that breaks the contract as a whole."""
        self._completion.task_events.received(job)
        self._completion.refuse(job, error)
        self._callbacks.soon()

    def refuse_id(self, job_id: str, error: Exception) -> None:
        """Store that a job failed whose message is buried."""
        self._completion.refuse_id(job_id, error)
        self._callbacks.soon()

    def drain(self, grace_s: float, *, is_hurried: Callable[[], bool]) -> None:
        """Finish the round that is in the engine, and start no other; the loop is no longer
        running.

        Whatever is left stays unacknowledged, and goes back to the head of its queue with the
        connection.

        Args:
            grace_s: How long the round may take, and Redis to store what was scored.
            is_hurried: Says whether to wait no longer.
        """
        deadline = time.monotonic() + grace_s
        while not self._finish() or self._batch is not None:
            remaining_s = min(deadline - time.monotonic(), _LOOK_FOR_HURRY_S)
            if remaining_s <= 0 or is_hurried():
                break
            if self._batch is not None:
                wait_for([self._batch.future], timeout=remaining_s)
            else:
                time.sleep(remaining_s)  # Scored, but Redis did not store it.
        if self._batch is not None:
            logger.warning(
                "%d jobs in the engine go back to the queue, not finished", len(self._batch.jobs)
            )
        if self._pending:
            logger.info("%d jobs that waited go back to the queue", len(self._pending))

    def _advance(self) -> None:
        """Do whatever can be done now: finish a round that was scored, start the next."""
        if not self._finish():
            self._callbacks.later(self._completion.again_in_s)
        elif self._batch is None and self._pending:
            self._go_on()

    def _finish(self) -> bool:
        """End the jobs of a round that was scored; returns whether Redis stored all there is."""
        if self._batch is not None and self._batch.future.done():
            batch, self._batch = self._batch, None
            self._result_handler.conclude(batch)
        return self._completion.store()

    def _go_on(self) -> None:
        """Start the next round, or wait for an engine that is not available."""
        self._drop(self._pending.remove_over(self.clock.now_ms()))
        if remaining_s := self._backoff.remaining_s:
            self._callbacks.later(min(remaining_s, _LOOK_S))
        elif jobs := self._pending.next_batch():
            if not jobs[0].is_suspect or self._mark_alone(jobs[0]):
                self._start(jobs)
        elif (next_in_s := self._pending.next_in_s) is not None:
            self._callbacks.later(min(next_in_s, _LOOK_S))

    def _mark_alone(self, suspect: InFlightJob) -> bool:
        """Mark a job that may be to blame for the loss of workers, before it runs alone; returns
        whether it may run."""
        try:
            is_ours = self._completion.acknowledger.mark_alone(suspect)
        except redis.RedisError as error:
            logger.warning("a suspect cannot be marked now (%s)", type(error).__name__)
            self._pending.put_back([suspect])
            self._callbacks.later(_MARK_AGAIN_S)
            return False
        if is_ours:
            logger.warning("job %s runs alone: workers were lost over it", suspect.id)
        else:
            # It went back to its queue meanwhile; on with the next.
            self._give_up([suspect])
            self._callbacks.soon()
        return is_ours

    def _give_up(self, jobs: Sequence[InFlightJob]) -> None:
        """Others have these deliveries; but one of the same job may have come here again."""
        self._duplicates.forget(jobs)
        for job in jobs:
            for copy in job.duplicates:
                self.add(copy)

    def _drop(self, over: DiscardedJobs) -> None:
        """End jobs that nobody waits for any more."""
        if over.revoked:
            self._completion.revoke(over.revoked)
        if over.late:
            scored = self._service.without_engine([[PASSED] * len(job.texts) for job in over.late])
            self._result_handler.answer(over.late, scored, runtime_s=0.0)

    def _start(self, jobs: list[InFlightJob]) -> None:
        self._completion.task_events.started(
            [job for job in jobs if job.is_plain and not job.tries]
        )
        future = self._service.submit(jobs)
        self._service.prefetch(self._pending.upcoming())
        self._batch = batch = JobBatch(jobs, future, time.time())
        # Called in the engine's thread.
        future.add_done_callback(lambda _: self._callbacks.from_another_thread())
        self._callbacks.once(_SAY_RUNNING_AFTER_S, self._say_running, batch)

    def _say_running(self, batch: JobBatch) -> None:
        if batch is not self._batch:
            return
        with contextlib.suppress(redis.RedisError):  # Only the status "running" depends on it.
            self._store.begin(
                {
                    job.id: started(job.id, self._hostname)
                    for job in batch.jobs
                    if not job.ignores_result
                }
            )
