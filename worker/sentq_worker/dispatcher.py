"""Jobs in hand: those that wait, and the round of them that is in the engine.

    add ── waiting ── round in the engine's thread ── store ── acknowledge

No timer: when the engine is idle a round starts with whatever is there, and while it is busy
the next one gathers. Everything here runs in Celery's loop, except the scoring itself.

It is worse to lose a job than to run it twice, and worst to answer it twice differently. So a
job is acknowledged only after its outcome was stored, and only where it came from.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery.worker import state

from sentq_worker.outcomes import OutcomeStore, failed, started, succeeded
from sentq_worker.service import Scored, Service
from sentq_worker.transport import acknowledge_all

__all__ = ["Dispatcher", "ScoringFailed"]

logger = logging.getLogger(__name__)

#: How long to wait before Redis is asked again to store what was scored.
_STORE_AGAIN_S: Final = 1.0


class ScoringFailed(Exception):
    """The worker failed on the whole round. Never quotes what it failed on."""


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that was taken and is not yet acknowledged."""

    request: Any
    texts: list[object]
    chars: int
    #: Which connection delivered it: the acknowledgement must go there.
    connection: int

    @property
    def id(self) -> str:
        return str(self.request.id)

    @property
    def attempts(self) -> int:
        delivered_again = bool(self.request.delivery_info.get("redelivered"))
        return 1 + int(self.request.request_dict.get("retries") or 0) + delivered_again


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs that are scored as one."""

    jobs: list[HeldJob]
    future: Future[Scored]


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
        self._connection = 0
        self._hub: Any = None
        self._connection_errors: tuple[type[BaseException], ...] = ()

    def attach(self, consumer: Any, hub: Any) -> None:
        """Join the event loop of a new connection. What an older one delivered is still scored
        and stored, but can no longer be acknowledged: Redis delivers it again, and the stored
        outcome stays."""
        self._connection += 1
        self._hub = hub
        self._connection_errors = consumer.connection_errors
        hub.call_soon(self._advance)

    def add(self, request: Any, texts: list[object]) -> None:
        """Take a job. It ends acknowledged, or goes back to the queue."""
        chars = sum(len(text) for text in texts if isinstance(text, str))
        state.task_reserved(request)
        self._waiting.append(HeldJob(request, texts, chars, self._connection))
        # Not at once: whatever else this turn of the loop brings belongs into the same round.
        # And not while a round is computed: its end calls as well.
        if self._round is None and not self._is_called:
            self._is_called = True
            self._hub.call_soon(self._advance)

    def refuse(self, request: Any, error: Exception) -> None:
        """End a job that breaks the contract as a whole. Where that cannot be stored the job is
        not acknowledged either, and comes again."""
        if self.refuse_id(request.id, error):
            self._acknowledge([HeldJob(request, [], 0, self._connection)])
            request.send_event("task-failed", exception=repr(error), traceback="")

    def refuse_id(self, job_id: str, error: Exception) -> bool:
        """Store that a job failed. Returns whether that could be done."""
        try:
            self._store.finish({job_id: failed(job_id, error)})
        except redis.RedisError as problem:
            logger.warning("job %s cannot be refused: %s", job_id, type(problem).__name__)
            return False
        return True

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
            if not self._round.future.done():
                return
            if time.monotonic() < self._store_not_before:
                return
            try:
                self._finish(self._round)
            except redis.RedisError as error:
                logger.warning(
                    "outcomes of %d jobs cannot be stored (%s); trying again",
                    len(self._round.jobs),
                    type(error).__name__,
                )
                self._store_not_before = time.monotonic() + _STORE_AGAIN_S
                self._hub.call_later(_STORE_AGAIN_S, self._advance)
                return
            self._round = None
        if jobs := self._next_jobs():
            self._start(jobs)

    def _next_jobs(self) -> list[HeldJob]:
        jobs: list[HeldJob] = []
        chars = 0
        while self._waiting and (not jobs or chars + self._waiting[0].chars <= self._round_chars):
            job = self._waiting.popleft()
            if job.request.revoked():
                continue
            jobs.append(job)
            chars += job.chars
        return jobs

    def _start(self, jobs: list[HeldJob]) -> None:
        with contextlib.suppress(redis.RedisError):  # Only the status "running" depends on it.
            self._store.begin(
                {
                    job.id: started(job.id, self._hostname)
                    for job in jobs
                    if not job.request.ignore_result
                }
            )
        now = time.time()
        for job in jobs:
            job.request.time_start = now
            job.request.worker_pid = os.getpid()
            state.task_accepted(job.request)
            job.request.send_event("task-started")
        future = self._service.submit([job.texts for job in jobs])
        self._round = Round(jobs, future)
        # Called in the engine's thread; call_soon wakes the loop.
        future.add_done_callback(lambda _: self._hub.call_soon(self._advance))

    def _finish(self, round_: Round) -> None:
        documents = self._documents(round_)
        self._store.finish(
            {job.id: documents[job.id] for job in round_.jobs if not job.request.ignore_result}
        )
        runtime_s = time.time() - round_.jobs[0].request.time_start
        self._acknowledge(round_.jobs)
        for job in round_.jobs:
            job.request.send_event(
                "task-succeeded", result=f"<{len(job.texts)} outcomes>", runtime=runtime_s
            )
        logger.debug("round of %d jobs done in %.3f s", len(round_.jobs), runtime_s)

    def _documents(self, round_: Round) -> dict[str, bytes]:
        error = round_.future.exception()
        if error is not None:
            # The class alone: a message might quote a text.
            logger.error("round of %d jobs failed: %s", len(round_.jobs), type(error).__name__)
            failure = ScoringFailed(f"the worker failed with {type(error).__name__}")
            return {job.id: failed(job.id, failure) for job in round_.jobs}
        scored = round_.future.result()
        return {
            job.id: succeeded(
                job.id, self._service.outcome(job.id, scored, index, attempts=job.attempts)
            )
            for index, job in enumerate(round_.jobs)
        }

    def _acknowledge(self, jobs: Sequence[HeldJob]) -> None:
        messages = []
        for job in jobs:
            state.task_ready(job.request, successful=True)
            if job.connection == self._connection and not job.request.acknowledged:
                job.request.acknowledged = True
                messages.append(job.request.message)
        # At once: Celery would queue it into the loop, which a shutdown no longer runs.
        try:
            acknowledge_all(messages)
        except self._connection_errors as error:
            logger.warning(
                "%d jobs are answered but not acknowledged (%s); they will be delivered again",
                len(messages),
                type(error).__name__,
            )
