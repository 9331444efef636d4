"""Jobs in hand: those that wait, and the round of them that is in the engine.

    add ── waiting ── round in the engine's thread ── store and acknowledge

No timer: when the engine is idle a round starts with whatever is there, and while it is busy
the next one gathers. Everything here runs in Celery's loop, except the scoring itself.

It is worse to lose a job than to run it twice, and worst to answer it twice differently. So a
job is acknowledged with its outcome or after it, never before.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery.exceptions import TaskRevokedError
from celery.worker import state

from sentq_worker.announce import Announcer
from sentq_worker.failure import ScoringFailed
from sentq_worker.finish import Finisher
from sentq_worker.held import HeldJob
from sentq_worker.outcomes import OutcomeStore, failed, now_iso, started, succeeded
from sentq_worker.ownpath import Ending, OwnPath
from sentq_worker.service import Scored, Service

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: How long to wait before Redis is asked again to store what was scored.
_STORE_AGAIN_S: Final = 1.0

#: A round that takes longer than this is said to run. Saying it costs as much as storing its
#: outcomes, and of a shorter one nobody would see it.
_SAY_RUNNING_AFTER_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs that are scored as one."""

    jobs: list[HeldJob]
    future: Future[Scored]
    started_at_s: float


class Dispatcher:
    """Owns what was taken until it is answered. Lives as long as the worker.

    Args:
        service: Scores a round.
        store: Keeps its outcomes.
        hostname: Said of jobs that run.
        round_chars: How much text makes a round, at most; a larger job runs alone. A single
            job waits behind one round of bulk work, so this is also its latency.
    """

    def __init__(
        self, service: Service, store: OutcomeStore, *, hostname: str, round_chars: int
    ) -> None:
        self._round_chars = round_chars
        self._service = service
        self._store = store
        self._hostname = hostname
        self._waiting: deque[HeldJob] = deque()
        self._round: Round | None = None
        self._store_not_before = 0.0
        self._is_called = False
        self._hub: Any = None
        self._finisher: Finisher | None = None
        self._announcer = Announcer()
        #: The number of the connection that delivers now.
        self.connection = 0

    def attach(self, consumer: Any, hub: Any) -> None:
        """Join the event loop of a new connection. What an older one delivered is still scored
        and stored; if it went back to its queue meanwhile, its first outcome stays."""
        self.connection += 1
        self._hub = hub
        self._finisher = Finisher(self._store, consumer, self.connection)
        self._announcer = Announcer(consumer.event_dispatcher)
        hub.call_soon(self._advance)

    @property
    def waiting(self) -> Sequence[HeldJob]:
        """The jobs that wait for the engine, in order."""
        return tuple(self._waiting)

    @property
    def running(self) -> Round | None:
        """The jobs in the engine."""
        return self._round

    def add(self, job: HeldJob) -> None:
        """Take a job. It ends acknowledged, or goes back to the queue."""
        if job.is_plain:
            self._announcer.received(job)
        self._waiting.append(job)
        # Not at once: whatever else this turn of the loop brings belongs into the same round.
        # And not while a round is computed: its end calls as well.
        if self._round is None and not self._is_called:
            self._is_called = True
            self._hub.call_soon(self._advance)

    def refuse(self, job: HeldJob, error: Exception) -> None:
        """End a job that breaks the contract as a whole. Where that cannot be stored the job is
        not acknowledged either, and comes again."""
        self._announcer.received(job)
        documents = {} if job.ignores_result else {job.id: failed(job.id, error)}
        if self._end([job], documents):
            self._announcer.failed([job], error)

    def refuse_id(self, job_id: str, error: Exception) -> None:
        """Store that a job failed whose message is buried."""
        self._end([], {job_id: failed(job_id, error)})

    def drain(self, grace_s: float) -> None:
        """Finish what is held, for as long as `grace_s`; the loop is no longer running.

        What is left then stays unacknowledged, and goes back to the queue with the connection.
        """
        deadline = time.monotonic() + grace_s
        while self._waiting or self._round:
            self._advance()
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                break
            if self._round and not self._round.future.done():
                wait_for([self._round.future], timeout=remaining_s)
            elif self._round:
                time.sleep(min(remaining_s, 0.1))  # Scored, but Redis did not store it.
        held = len(self._waiting) + (len(self._round.jobs) if self._round else 0)
        if held:
            logger.warning("%d jobs go back to the queue: not finished in %.0f s", held, grace_s)

    def _advance(self) -> None:
        """Do whatever can be done now: finish a round that was scored, start the next."""
        self._is_called = False
        if self._round is not None:
            is_stuck = time.monotonic() < self._store_not_before
            if is_stuck or not self._round.future.done() or not self._finish(self._round):
                return
            self._round = None
        if jobs := self._next_jobs():
            self._start(jobs)

    def _next_jobs(self) -> list[HeldJob]:
        jobs: list[HeldJob] = []
        revoked: list[HeldJob] = []
        chars = 0
        while self._waiting:
            chars += self._waiting[0].chars
            if jobs and chars > self._round_chars:
                break
            job = self._waiting.popleft()
            if isinstance(job.receipt, OwnPath):
                if not job.receipt.is_over():
                    jobs.append(job)
            else:
                (revoked if job.id in state.revoked else jobs).append(job)
        if revoked:
            self._drop(revoked)
        return jobs

    def _drop(self, jobs: list[HeldJob]) -> None:
        error = TaskRevokedError("revoked")
        documents = {
            job.id: failed(job.id, error, status="REVOKED")
            for job in jobs
            if not job.ignores_result
        }
        if self._end(jobs, documents):
            self._announcer.revoked(jobs)

    def _start(self, jobs: list[HeldJob]) -> None:
        self._announcer.started([job for job in jobs if job.is_plain])
        future = self._service.submit([job.texts for job in jobs])
        self._round = round_ = Round(jobs, future, time.time())
        # Called in the engine's thread; call_soon wakes the loop.
        future.add_done_callback(lambda _: self._hub.call_soon(self._advance))
        self._hub.call_later(_SAY_RUNNING_AFTER_S, self._say_running, round_)

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

    def _finish(self, round_: Round) -> bool:
        """End the jobs of a round; returns whether Redis stored what there is to store."""
        error = round_.future.exception()
        if isinstance(error, SystemExit):
            raise error  # The device is lost: nothing is answered, and all goes back.
        ended = self._failures(round_, error) if error else self._outcomes(round_)
        plain = [job for job, _ in ended if job.is_plain]
        now = now_iso()
        documents = {
            job.id: _document(job.id, ending, now)
            for job, ending in ended
            if job.is_plain and not job.ignores_result
        }
        if not self._end(plain, documents):
            self._store_not_before = time.monotonic() + _STORE_AGAIN_S
            self._hub.call_later(_STORE_AGAIN_S, self._advance)
            return False
        runtime_s = time.time() - round_.started_at_s
        if error:
            self._announcer.failed(plain, ScoringFailed.by(error))
        else:
            self._announcer.succeeded(plain, runtime_s=runtime_s)
        for job, ending in ended:
            # What an older connection delivered is delivered again: its end is Celery's.
            if isinstance(job.receipt, OwnPath) and job.connection == self.connection:
                job.receipt.resume(ending)
        logger.debug("round of %d jobs done in %.3f s", len(ended), runtime_s)
        return True

    def _outcomes(self, round_: Round) -> list[tuple[HeldJob, Ending]]:
        jobs = round_.jobs
        ids = ((job.id, job.attempts) for job in jobs)
        outcomes = self._service.outcomes(round_.future.result(), ids)
        return list(zip(jobs, outcomes, strict=True))

    def _failures(self, round_: Round, error: BaseException) -> list[tuple[HeldJob, Ending]]:
        logger.error("round of %d jobs failed: %s", len(round_.jobs), type(error).__name__)
        return [(job, ScoringFailed.by(error)) for job in round_.jobs]

    def _end(self, jobs: Sequence[HeldJob], documents: Mapping[str, bytes]) -> bool:
        """Store documents, by job id, and acknowledge jobs; returns whether Redis did it."""
        if self._finisher is None:
            raise RuntimeError("no connection: Dispatcher.attach comes first")
        try:
            self._finisher.finish(jobs, documents)
        except redis.RedisError as error:
            logger.warning(
                "outcomes of %d jobs cannot be stored now (%s)",
                len(documents),
                type(error).__name__,
            )
            return False
        return True


def _document(job_id: str, ending: Ending, now: str) -> bytes:
    if isinstance(ending, Exception):
        return failed(job_id, ending)
    return succeeded(job_id, ending, at=now)
