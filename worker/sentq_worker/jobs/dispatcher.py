"""Dispatching jobs: those that are pending, and the batches of them that are in the engine.

    add -> pending -> batch in the engine's thread -> completion: store and acknowledge

There is no timer: when the engine is idle, a batch starts with the jobs that are there; while it is
busy, the next batch gathers. If all batches in the engine have computed for long, the next one
starts beside them, and the engine computes it first (`engine.time_slices`).

Everything here runs in Celery's loop, except the scoring itself.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_for
from itertools import chain
from typing import Final

import redis
from celery.exceptions import TaskRevokedError

from sentq.contract import Outcome
from sentq.errors import InvalidInput
from sentq_worker.broker.delivery import job_id
from sentq_worker.broker.protocols import EventLoop, Headers, JobConsumer
from sentq_worker.broker.results import ResultStore, started
from sentq_worker.clock import WorkerClock
from sentq_worker.jobs.batch import BatchResults, JobBatch, results_of
from sentq_worker.jobs.completion import Completion
from sentq_worker.jobs.deliveries import Deliveries
from sentq_worker.jobs.events import TaskEvents
from sentq_worker.jobs.executor import BatchExecutor
from sentq_worker.jobs.in_flight import (
    DEADLINE_PASSED,
    DuplicateDeliveries,
    InFlightJob,
    batch_tags,
    named,
    with_duplicates,
)
from sentq_worker.jobs.loop import LoopCallbacks
from sentq_worker.jobs.outcomes import SealResult
from sentq_worker.jobs.pending import DiscardedJobs, PendingJobs
from sentq_worker.jobs.retry import EngineBackoff
from sentq_worker.monitoring.history import history_totals
from sentq_worker.monitoring.job_counts import JobCounts, Redelivery
from sentq_worker.reports.heartbeat import WorkerSnapshot
from sentq_worker.tracing.batches import BatchTrace, BatchTracer

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: The jobs of a batch that takes longer than this are marked as started. Marking costs as much as
#: storing their results, and in a shorter batch a reader could not see it.
_MARK_STARTED_AFTER_S: Final = 0.1

#: How often pending jobs are checked for those whose result is of no use any more.
_CHECK_INTERVAL_S: Final = 1.0

#: The delay before Redis is asked again to mark a suspect.
_MARK_RETRY_S: Final = 1.0

#: The most batches in the engine. All but the last one have computed for long, and each may hold
#: the tokens of a job of the largest size, some 20 MiB.
_MAX_BATCHES: Final = 8

#: How often a worker that ends checks whether it must end at once.
_SHUTDOWN_CHECK_S: Final = 0.05

#: For how long Celery finishes jobs in one turn of the loop; the last one of them may take longer.
_FINISH_S: Final = 0.1

#: The delay until a turn of the loop in which it has seen what arrived meanwhile.
_NEXT_TURN_S: Final = 0.001


class Dispatcher:
    """Owns jobs from their delivery until their completion. Lives as long as the worker.

    Args:
        executor: Scores a batch.
        store: Stores results.
        clock: Tells the time by which deadlines pass.
        batch_chars: The most characters of a batch; a larger job runs alone. A single job waits
            behind one batch of bulk work, so this also decides its latency.
        seal_result: Encrypts outcomes, if the worker does that.
        bulk_queue: The queue of bulk work.
        counts: Counts jobs and batches.
        tracer: Records batches.
    """

    def __init__(
        self,
        executor: BatchExecutor,
        store: ResultStore,
        clock: WorkerClock,
        *,
        batch_chars: int,
        seal_result: SealResult,
        bulk_queue: str,
        counts: JobCounts,
        tracer: BatchTracer,
    ) -> None:
        self._executor = executor
        self._counts = counts
        self._store = store
        self._tracer = tracer
        #: The worker's name, as monitors show it.
        self._worker = ""
        self._pending = PendingJobs(batch_chars=batch_chars, bulk_queue=bulk_queue)
        #: The batches in the engine, in the order in which they started.
        self._running: list[JobBatch] = []
        self._backoff = EngineBackoff()
        self._duplicates = DuplicateDeliveries()
        self._events = TaskEvents()
        self._completion = Completion(store, self._events, self._duplicates, seal_result, counts)
        self._deliveries: Deliveries | None = None
        self._callbacks = LoopCallbacks(self._advance)
        #: The clock by which deadlines pass.
        self.clock = clock
        #: The number of the connection that delivers now.
        self.connection = 0
        #: For how long there were batches in the engine, and since when there are some: a tuple, so
        #: that another thread reads both of one moment.
        self._occupied: tuple[float, float | None] = (0.0, None)

    def attach(
        self, consumer: JobConsumer, loop: EventLoop, *, queues: Collection[str] = ()
    ) -> None:
        """Go on in the event loop of a new connection. Jobs that an older one delivered are still
        scored and stored; if one went back to its queue meanwhile, its first result stays.

        Args:
            consumer: Celery's, on the connection.
            loop: The event loop.
            queues: The queues that it reads.
        """
        self.connection += 1
        self._worker = consumer.hostname
        self._counts.name_queues(queues)
        self._deliveries = Deliveries(self._store, consumer)
        self._events.attach(consumer.event_dispatcher)
        self._completion.attach(consumer, self.connection)
        self._callbacks.attach(loop)

    @property
    def pending(self) -> Iterable[InFlightJob]:
        """The jobs that wait for the engine, in order."""
        return tuple(self._pending)

    @property
    def running(self) -> Sequence[JobBatch]:
        """The batches in the engine, in the order in which they started."""
        return tuple(self._running)

    @property
    def in_flight_jobs(self) -> int:
        """How many jobs were taken and are not completed. Any thread may ask."""
        running = sum(len(batch.jobs) for batch in self.running)
        return len(self._pending) + running + self._completion.handed_back

    def snapshot(self) -> WorkerSnapshot:
        """Return the state of the worker. Any thread may call this."""
        engine = None
        with contextlib.suppress(RuntimeError):
            engine = self._executor.info
        return WorkerSnapshot(
            jobs_finished=self._counts.jobs_finished,
            in_flight_jobs=self.in_flight_jobs,
            engine=engine,
            breaker=self._executor.breaker_states.hub,
            local_breaker=self._executor.breaker_states.local,
            waiting_for=self._backoff.reason,
            texts_finished=self._counts.texts_finished,
            occupied_s=self._occupied_s,
            oldest_sent_at_ms=self._oldest_sent_at_ms(),
            totals=history_totals(self._counts.read()),
            hub_budget=self._executor.counts.hub_budget,
            models=self._executor.models,
            model_texts=self._executor.counts.model_texts,
            roll=self._executor.roll,
        )

    @property
    def _occupied_s(self) -> float:
        occupied_s, since = self._occupied
        return occupied_s + (0.0 if since is None else time.monotonic() - since)

    def _oldest_sent_at_ms(self) -> float | None:
        jobs = chain(self._pending, *(batch.jobs for batch in self.running))
        return min(filter(None, (job.sent_at_ms for job in jobs)), default=None)

    def in_flight_tags(self) -> set[str]:
        """Return the tags of the jobs that can be completed on any connection."""
        running = chain.from_iterable(batch.jobs for batch in self.running)
        jobs = [*chain(self._pending, running, self._completion.unstored_jobs)]
        return set(batch_tags(with_duplicates(jobs)))

    def add(self, job: InFlightJob) -> None:
        """Take a job. It is completed, or goes back to its queue."""
        if job.is_plain:
            if self._duplicates.joins(job):
                return
            self._events.received(job)
        self._pending.add(job)
        # Not while a batch is scored that does not yield: its end calls as well.
        if self._may_start:
            self._callbacks.soon()

    def drop_reclaimed(self, tags: Collection[str]) -> None:
        """Drop pending plain jobs that are no longer recorded under these tags: other workers
        have reclaimed them, because the leases of this one had expired."""
        if jobs := self._pending.remove(tags):
            self._current_deliveries.release(jobs)
            self._drop(jobs)
            logger.warning(
                "%d jobs went to other workers: their leases expired", len(jobs), extra=named(jobs)
            )

    def refuse(self, job: InFlightJob, error: Exception) -> None:
        """Complete a job that breaks the contract as a whole. Celery's own jobs end in a later turn
        of the loop."""
        if job.is_plain:
            self._events.received(job)
        self._completion.complete([(job, error)])
        self._callbacks.soon()

    def fail_dead_letter(
        self,
        headers: Headers,
        reason: str,
        error: Exception | None = None,
        *,
        waiting: Iterable[str] = (),
    ) -> None:
        """Store that a job failed whose message is dead-lettered, if its headers name the job.

        Args:
            headers: The headers of the message.
            reason: Why it is dead-lettered.
            error: The error of the job; None makes one of the reason.
            waiting: The ids of tasks that will not run because of that. They fail as well.
        """
        if found := job_id(headers):
            error = error or InvalidInput(f"the job's message was refused: {reason}")
            self._completion.fail_dead_letter([found, *waiting], error, headers)
            self._callbacks.soon()

    def drain(self, grace_s: float, *, is_hurried: Callable[[], bool]) -> None:
        """Complete the batches in the engine, and start no other; the loop no longer runs.

        All other jobs stay unacknowledged, and go back to the head of their queues as the
        connection closes.

        Args:
            grace_s: How long the batches may take, and Redis to store their results.
            is_hurried: Tells whether to stop waiting.
        """
        deadline = time.monotonic() + grace_s
        while not self._complete() or self._running or not self._finish():
            remaining_s = min(deadline - time.monotonic(), _SHUTDOWN_CHECK_S)
            if remaining_s <= 0 or is_hurried():
                break
            if futures := [batch.future for batch in self._running]:
                wait_for(futures, timeout=remaining_s, return_when=FIRST_COMPLETED)
            else:  # Scored; Redis did not store it, or Celery has more to finish.
                time.sleep(min(remaining_s, self._completion.retry_in_s))
        if unfinished := sum(len(batch.jobs) for batch in self._running):
            logger.warning("%d jobs in the engine go back to the queue, not finished", unfinished)
        if waiting := len(self._pending) + self._completion.handed_back:
            logger.info("%d pending jobs go back to the queue", waiting)

    def _advance(self) -> None:
        """Do what can be done now: complete batches that were scored, start the next one."""
        if not self._complete():
            self._callbacks.later(self._completion.retry_in_s)
            return
        self._make_room()
        if self._may_start and self._pending:
            self._start_next()
        if not self._finish():
            self._callbacks.later(max(_NEXT_TURN_S, self._completion.retry_in_s))
        if not self._running and self._occupied[1] is not None:
            self._occupied = (self._occupied_s, None)

    def _finish(self) -> bool:
        """Let Celery finish some jobs; return whether it has finished all."""
        return self._completion.finish(within_s=_FINISH_S)

    @property
    def _may_start(self) -> bool:
        """Whether another batch may start: none is in the engine, or all there yield."""
        running = self._running
        # Asked for each job: as a rule the last batch has not computed for long.
        return not running or (running[-1].future.slices > 0 and self._all_yield())

    def _all_yield(self) -> bool:
        running = self._running
        return len(running) < _MAX_BATCHES and all(b.yields(to_bulk=False) for b in running)

    def _complete(self) -> bool:
        """Complete the jobs of batches that were scored; return whether all results are stored."""
        for batch in [batch for batch in self._running if batch.future.done()]:
            self._running.remove(batch)
            self._complete_batch(batch)
        return self._completion.flush()

    def _complete_batch(self, batch: JobBatch) -> None:
        try:
            given = batch.results()
        except SystemExit:  # The device is lost.
            with contextlib.suppress(redis.RedisError):  # Then the leases expire.
                self._current_deliveries.requeue_lost(batch.jobs, "the worker's device was lost")
                self._counts.add_redeliveries(Redelivery.DEVICE_LOST, len(batch.jobs))
            batch.end_trace()
            raise
        texts = sum([len(job.texts) for job in batch.jobs])
        self._counts.add_batch(seconds=batch.future.computed_s, texts=texts)
        if given.unavailable:
            self._backoff.begin(given.unavailable)
        else:
            self._backoff.end()
        runtime_s = time.time() - batch.started_at_s
        self._complete_or_retry(given, runtime_s=runtime_s, trace=batch.trace)

    def _complete_or_retry(
        self, given: BatchResults, *, runtime_s: float, trace: BatchTrace | None = None
    ) -> None:
        for job in given.unfinished:
            if job.is_suspect:
                self._current_deliveries.unmark(job)
        self._pending.put_back(given.put_back)
        for job, delay_s in given.retries:
            self._pending.add_later(job, delay_s)
        self._completion.complete(
            given.results, runtime_s=runtime_s, started_at_s=given.started_at_s, trace=trace
        )
        if logger.isEnabledFor(logging.DEBUG):
            jobs = [job for job, _ in given.results]
            logger.debug("%d jobs completed after %.3f s", len(jobs), runtime_s, extra=named(jobs))

    def _start_next(self) -> None:
        """Start the next batch, or wait for an engine that is not available."""
        self._complete_discarded(self._pending.remove_discarded(self.clock.now_ms()))
        if remaining_s := self._backoff.remaining_s:
            self._callbacks.later(min(remaining_s, _CHECK_INTERVAL_S))
        elif jobs := self._next_batch():
            if not jobs[0].is_suspect or self._mark_alone(jobs[0]):
                self._start(jobs)
        elif (next_in_s := self._pending.next_in_s) is not None:
            self._callbacks.later(min(next_in_s, _CHECK_INTERVAL_S))

    def _next_batch(self) -> list[InFlightJob]:
        if not self._running:
            return self._pending.next_batch()
        with_bulk = all(batch.yields(to_bulk=True) for batch in self._running)
        return self._pending.next_batch_beside(with_bulk=with_bulk)

    def _complete_discarded(self, discarded: DiscardedJobs) -> None:
        """Complete jobs without scoring them: their result is of no use any more."""
        if discarded.revoked:
            revoked = TaskRevokedError("revoked")
            self._completion.complete([(job, revoked) for job in discarded.revoked])
        if late := discarded.late:
            outcomes: list[list[Outcome]] = [[DEADLINE_PASSED] * len(job.texts) for job in late]
            given = results_of(late, self._executor.without_engine(outcomes))
            self._complete_or_retry(given, runtime_s=0.0)

    def _mark_alone(self, suspect: InFlightJob) -> bool:
        """Mark a suspect, a job that may be the reason why workers were lost, before it runs
        alone; return whether it may run."""
        try:
            may_run = self._current_deliveries.mark_alone(suspect)
        except redis.RedisError as error:
            logger.warning("a suspect cannot be marked now (%s)", type(error).__name__)
            self._pending.put_back([suspect])
            self._callbacks.later(_MARK_RETRY_S)
            return False
        if may_run:
            logger.warning(
                "job %s runs alone: workers were lost over it", suspect.id, extra=named([suspect])
            )
        else:
            # It went back to its queue meanwhile: go on with the next job.
            self._drop([suspect])
            self._callbacks.soon()
        return may_run

    def _drop(self, jobs: Sequence[InFlightJob]) -> None:
        """Drop jobs that other workers have. A duplicate of one may have been delivered here
        since; it takes the place of the job."""
        self._duplicates.remove(jobs)
        for job in jobs:
            for duplicate in job.duplicates:
                self.add(duplicate)

    def _start(self, jobs: list[InFlightJob]) -> None:
        self._events.started([job for job in jobs if job.is_plain and not job.tries])
        trace = self._tracer.begin(jobs)
        future = self._executor.submit(
            jobs, on_slice=self._callbacks.from_another_thread, trace=trace
        )
        self._executor.prefetch(self._pending.upcoming())
        batch = JobBatch(jobs, future, time.time(), trace)
        self._running.append(batch)
        if self._occupied[1] is None:
            self._occupied = (self._occupied[0], time.monotonic())
        # Called in the engine's thread.
        future.add_done_callback(lambda _: self._callbacks.from_another_thread())
        self._callbacks.once(_MARK_STARTED_AFTER_S, self._mark_started, batch)

    def _make_room(self) -> None:
        """Let the worker take other jobs beside batches that compute for long."""
        for batch in self._running:
            if batch.yields(to_bulk=False):
                self._current_deliveries.make_room(batch.jobs)

    def _mark_started(self, batch: JobBatch) -> None:
        if batch not in self._running:
            return
        with contextlib.suppress(redis.RedisError):  # Only the status STARTED depends on it.
            self._store.mark_started(
                {
                    job.id: started(job.id, self._worker)
                    for job in batch.jobs
                    if not job.ignores_result
                }
            )

    @property
    def _current_deliveries(self) -> Deliveries:
        if self._deliveries is None:
            raise RuntimeError("no connection: Dispatcher.attach comes first")
        return self._deliveries
