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

from sentq_worker.broker.clock import RedisClock
from sentq_worker.broker.heartbeat import Condition
from sentq_worker.broker.results import OutcomeStore, started
from sentq_worker.jobs.batch import Round, Verdicts
from sentq_worker.jobs.completion import Answers
from sentq_worker.jobs.copies import Copies, with_copies
from sentq_worker.jobs.deadline import PASSED
from sentq_worker.jobs.executor import Service
from sentq_worker.jobs.in_flight import HeldJob
from sentq_worker.jobs.loop import Calls
from sentq_worker.jobs.pause import Pause
from sentq_worker.jobs.pending import Over, Waiting

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
        service: Service,
        store: OutcomeStore,
        clock: RedisClock,
        *,
        hostname: str,
        round_chars: int,
    ) -> None:
        self._service = service
        self._store = store
        self._hostname = hostname
        self._waiting = Waiting(round_chars=round_chars)
        self._round: Round | None = None
        self._pause = Pause()
        self._copies = Copies()
        self._answers = Answers(store, self._copies)
        self._verdicts = Verdicts(service, self._waiting, self._answers, self._pause)
        self._calls = Calls(self._advance)
        #: By which deadlines are told.
        self.clock = clock
        #: The number of the connection that delivers now.
        self.connection = 0

    def attach(self, consumer: Any, hub: Any) -> None:
        """Join the event loop of a new connection. What an older one delivered is still scored
        and stored; if it went back to its queue meanwhile, its first outcome stays."""
        self.connection += 1
        self._answers.attach(consumer, self.connection)
        self._calls.attach(hub)

    @property
    def waiting(self) -> Iterable[HeldJob]:
        """The jobs that wait for the engine, in order."""
        return tuple(self._waiting)

    @property
    def running(self) -> Round | None:
        """The jobs in the engine."""
        return self._round

    def condition(self) -> Condition:
        """How the worker is doing. Any thread may ask."""
        round_, engine = self._round, None
        with contextlib.suppress(RuntimeError):
            engine = self._service.info
        return Condition(
            jobs_finished=self._answers.count,
            held_jobs=len(self._waiting) + (len(round_.jobs) if round_ else 0),
            engine=engine,
            breaker=self._service.breakers.hub,
            local_breaker=self._service.breakers.local,
            waiting_for=self._pause.reason,
        )

    def in_hand(self) -> set[str]:
        """Under which tags jobs are noted that can be finished on any connection."""
        running = self._round.jobs if self._round else ()
        jobs = with_copies([*chain(self._waiting, running, self._answers.jobs)])
        return {job.receipt for job in jobs if isinstance(job.receipt, str)}

    def add(self, job: HeldJob) -> None:
        """Take a job. It ends acknowledged, or goes back to the queue."""
        if job.is_plain:
            if self._copies.joins(job):
                return
            self._answers.announcer.received(job)
        self._waiting.add(job)
        # Not while a round is computed: its end calls as well.
        if self._round is None:
            self._calls.soon()

    def forget(self, tags: Collection[str]) -> None:
        """Let go of waiting plain jobs that are noted under these tags no more: this worker was
        taken for lost, and others have them."""
        if forgotten := self._waiting.remove(tags):
            self._answers.finisher.let_go(forgotten)
            self._give_up(forgotten)
            logger.warning("%d jobs went to other workers: their leases lapsed", len(forgotten))

    def refuse(self, job: HeldJob, error: Exception) -> None:
        """End a job that breaks the contract as a whole."""
        self._answers.announcer.received(job)
        self._answers.refuse(job, error)
        self._calls.soon()

    def refuse_id(self, job_id: str, error: Exception) -> None:
        """Store that a job failed whose message is buried."""
        self._answers.refuse_id(job_id, error)
        self._calls.soon()

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
        while not self._finish() or self._round is not None:
            remaining_s = min(deadline - time.monotonic(), _LOOK_FOR_HURRY_S)
            if remaining_s <= 0 or is_hurried():
                break
            if self._round is not None:
                wait_for([self._round.future], timeout=remaining_s)
            else:
                time.sleep(remaining_s)  # Scored, but Redis did not store it.
        if self._round is not None:
            logger.warning(
                "%d jobs in the engine go back to the queue, not finished", len(self._round.jobs)
            )
        if self._waiting:
            logger.info("%d jobs that waited go back to the queue", len(self._waiting))

    def _advance(self) -> None:
        """Do whatever can be done now: finish a round that was scored, start the next."""
        if not self._finish():
            self._calls.later(self._answers.again_in_s)
        elif self._round is None and self._waiting:
            self._go_on()

    def _finish(self) -> bool:
        """End the jobs of a round that was scored; returns whether Redis stored all there is."""
        if self._round is not None and self._round.future.done():
            round_, self._round = self._round, None
            self._verdicts.conclude(round_)
        return self._answers.store()

    def _go_on(self) -> None:
        """Start the next round, or wait for an engine that is not available."""
        self._drop(self._waiting.remove_over(self.clock.now_ms()))
        if remaining_s := self._pause.remaining_s:
            self._calls.later(min(remaining_s, _LOOK_S))
        elif jobs := self._waiting.next_round():
            if not jobs[0].is_suspect or self._mark_alone(jobs[0]):
                self._start(jobs)
        elif (next_in_s := self._waiting.next_in_s) is not None:
            self._calls.later(min(next_in_s, _LOOK_S))

    def _mark_alone(self, suspect: HeldJob) -> bool:
        """Mark a job that may be to blame for the loss of workers, before it runs alone; returns
        whether it may run."""
        try:
            is_ours = self._answers.finisher.mark_alone(suspect)
        except redis.RedisError as error:
            logger.warning("a suspect cannot be marked now (%s)", type(error).__name__)
            self._waiting.put_back([suspect])
            self._calls.later(_MARK_AGAIN_S)
            return False
        if is_ours:
            logger.warning("job %s runs alone: workers were lost over it", suspect.id)
        else:
            # It went back to its queue meanwhile; on with the next.
            self._give_up([suspect])
            self._calls.soon()
        return is_ours

    def _give_up(self, jobs: Sequence[HeldJob]) -> None:
        """Others have these deliveries; but one of the same job may have come here again."""
        self._copies.forget(jobs)
        for job in jobs:
            for copy in job.copies:
                self.add(copy)

    def _drop(self, over: Over) -> None:
        """End jobs that nobody waits for any more."""
        if over.revoked:
            self._answers.revoke(over.revoked)
        if over.late:
            scored = self._service.without_engine([[PASSED] * len(job.texts) for job in over.late])
            self._verdicts.answer(over.late, scored, runtime_s=0.0)

    def _start(self, jobs: list[HeldJob]) -> None:
        self._answers.announcer.started([job for job in jobs if job.is_plain and not job.tries])
        future = self._service.submit(jobs)
        self._service.read_ahead(self._waiting.upcoming())
        self._round = round_ = Round(jobs, future, time.time())
        # Called in the engine's thread.
        future.add_done_callback(lambda _: self._calls.from_another_thread())
        self._calls.once(_SAY_RUNNING_AFTER_S, self._say_running, round_)

    def _say_running(self, round_: Round) -> None:
        if round_ is not self._round:
            return
        with contextlib.suppress(redis.RedisError):  # Only the status "running" depends on it.
            self._store.begin(
                {
                    job.id: started(job.id, self._hostname)
                    for job in round_.jobs
                    if not job.ignores_result
                }
            )
