"""Scheduled jobs, as a worker sees them.

    holds           a job whose eta has not come -> the schedule in Redis; nothing stays here
    _tick           every second, and when the next job is due -> back to its queue
    seen            the channel of an idle worker looks too, so that no tick is needed
    end             cancelled jobs -> taken out of the schedule and delivered; Celery ends them

When a job is due, its eta is removed before Celery sees it, so that Celery's timer, which goes by
this host's clock, never holds one. On a broker other than Redis, and without an event loop,
Celery's timer holds them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from weakref import WeakKeyDictionary

import redis
from celery.utils.time import maybe_iso8601
from celery.worker import state

from sentq.errors import EtaTooFar, ScheduleFull
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.message import InvalidHeaders, due_ms, id_in, is_plain_with_eta
from sentq_worker.broker.protocols import DeliveredMessage, EventLoop, Headers
from sentq_worker.broker.schedule.messages import (
    ScheduledMessages,
    ScheduleLimits,
    ScheduleReply,
)
from sentq_worker.clock import WorkerClock
from sentq_worker.jobs.in_flight import DUE_HEADER

__all__ = ["JobSchedule"]

logger = logging.getLogger(__name__)

#: How often due jobs are looked for, beside the time at which the next one is due: other workers
#: add jobs too.
_TICK_S: Final = 1.0

#: How much later a tick comes after the channel has looked: an idle channel looks again before.
_AFTER_LOOK_S: Final = 0.5

#: How many ids of cancelled jobs wait to be looked up.
_MAX_ENDING: Final = 50_000

_ETA: Final = "eta"


class _LeftToCelery(Exception):
    """A job waits in Celery's timer."""


class JobSchedule:
    """Keeps jobs in Redis until they are due. Lives as long as the worker.

    Args:
        limits: How much may be scheduled.
        max_eta_s: How far away an eta may be, in seconds.
        clock: Redis' clock.
    """

    def __init__(self, limits: ScheduleLimits, *, max_eta_s: float, clock: WorkerClock) -> None:
        self._limits = limits
        self._max_eta_s = max_eta_s
        self._clock = clock
        self._messages: ScheduledMessages | None = None
        self._loop: EventLoop | None = None
        #: When due jobs are looked for next, by monotonic time.
        self._next_at = float("inf")
        self._ending: deque[str] = deque(maxlen=_MAX_ENDING)
        self._refusals: WeakKeyDictionary[DeliveredMessage, Exception] = WeakKeyDictionary()

    def attach(self, channel: object, loop: EventLoop) -> None:
        """Go on with a new connection, and its loop."""
        self._messages = None
        if isinstance(channel, Channel):
            self._messages = ScheduledMessages(channel, self._limits)
        self._loop = loop
        self._next_at = float("inf")
        self._look_in(0)

    def is_plain_and_due(self, headers: dict[str, object]) -> bool:
        """Return whether a job had nothing unusual but its eta, which has come. It needs no request
        of Celery's then; its headers say when it was due."""
        if not is_plain_with_eta(headers):
            return False
        try:
            at_ms = due_ms(headers[_ETA])
        except InvalidHeaders:
            return False
        if at_ms is None or at_ms > self._clock.now_ms():
            return False
        headers[DUE_HEADER] = at_ms
        return True

    def holds(self, message: DeliveredMessage) -> bool:
        """Put a job with an eta into the schedule; return whether Celery must not see it now.

        If it shall run now, or if `refusal_of` says why it fails, its eta is removed.

        Raises:
            InvalidHeaders: Its eta is not a date.
        """
        payload = message.payload
        # In protocol 1, and in a mixture that Celery reads too, headers stand in the body.
        sources = [message.headers, payload] if isinstance(payload, dict) else [message.headers]
        etas = [due_ms(source.get(_ETA)) for source in sources]
        at_ms = max((eta for eta in etas if eta is not None), default=None)
        if at_ms is None:
            return False
        job_id = next((found for source in sources if (found := id_in(source, "id"))), None)
        if job_id is not None and not _is_ended(job_id, sources):
            try:
                if self._is_scheduled(message, job_id, at_ms):
                    return True
            except _LeftToCelery:
                return False
            except (EtaTooFar, ScheduleFull) as error:
                self._refusals[message] = error
        for source in sources:
            source.pop(_ETA, None)
            source[DUE_HEADER] = at_ms
        return False

    def refusal_of(self, message: DeliveredMessage) -> Exception | None:
        """Return the error of a job that cannot be scheduled, and fails; None if it may run."""
        return self._refusals.get(message)

    def end(self, ids: Iterable[str]) -> None:
        """Take cancelled jobs out of the schedule, and deliver them. Celery's set of revoked jobs
        must have them by now: Celery ends them."""
        self._ending.extend(ids)
        if self._ending and self._loop is not None:
            # In the next turn of the loop: as a connection is attached, no queue is read yet.
            self._loop.call_soon(self._end_some)

    def seen(self, next_in_s: float | None) -> None:
        """Take note that the next job was seen to be due in so many seconds; None stands for no
        job. Call it in the loop's thread."""
        if not self._ending:  # Those are tried again with the next tick.
            self._next_at = float("inf")
            limit_s = _TICK_S + _AFTER_LOOK_S
            self._look_in(limit_s if next_in_s is None else min(next_in_s, limit_s))

    def first(self, count: int) -> Iterable[tuple[str, float]]:
        """Return the ids of the jobs that are due first, and when they are, in Unix seconds."""
        return [] if self._messages is None else list(self._messages.first(count))

    def _is_scheduled(self, message: DeliveredMessage, job_id: str, at_ms: int) -> bool:
        """Schedule a job, unless it is due; return whether it is scheduled.

        Raises:
            EtaTooFar: Its eta is too far away.
            ScheduleFull: As many jobs or bytes are scheduled as the settings permit.
            _LeftToCelery: It cannot be scheduled here, and waits in Celery's timer.
        """
        in_s = (at_ms - self._clock.now_ms()) / 1000
        if in_s > self._max_eta_s:
            raise EtaTooFar(f"{in_s:,.0f} s away; the limit is {self._max_eta_s:,.0f} s")
        if self._messages is None:
            raise _LeftToCelery
        try:
            reply = self._messages.schedule(message, job_id, at_ms)
        except redis.ResponseError as error:
            kind = type(error).__name__
            logger.warning("Redis refuses to schedule a job (%s); it waits in this worker", kind)
            raise _LeftToCelery from error
        match reply:
            case ScheduleReply.TOO_MANY_JOBS:
                raise ScheduleFull(f"{self._limits.max_jobs:,} jobs are scheduled: the limit")
            case ScheduleReply.TOO_MANY_BYTES:
                limit = f"the limit is {self._limits.max_bytes:,} bytes"
                raise ScheduleFull(f"the messages of scheduled jobs have too many bytes; {limit}")
            case ScheduleReply.DUE:
                return False
        self._look_in(max(0.0, in_s))
        return True

    def _end_some(self) -> None:
        ids = list(self._ending)
        self._ending.clear()
        if self._messages is None or self._loop is None or not ids:
            return
        try:
            taken = self._messages.take(ids)
        except redis.RedisError as error:  # It is tried again with the next tick.
            logger.debug("scheduled jobs cannot be ended now (%s)", type(error).__name__)
            self._ending.extend(ids)
            return
        self._ending.extend(ids[taken.ids :])
        if self._ending:
            self._loop.call_soon(self._end_some)
        self._messages.deliver(taken)

    def _look_in(self, delay_s: float) -> None:
        """Look for due jobs in so many seconds, unless that happens earlier."""
        at = time.monotonic() + delay_s
        if at < self._next_at and self._loop is not None:
            self._next_at = at
            self._loop.call_later(delay_s, self._tick, at)

    def _tick(self, at: float) -> None:
        if at != self._next_at:
            return  # An earlier time took its place, or it is of an earlier connection.
        self._next_at = float("inf")
        if self._messages is None:
            return
        next_in_s = None
        try:
            next_in_s = self._messages.queue_due()
        except redis.RedisError as error:
            logger.debug("due jobs cannot be queued now (%s)", type(error).__name__)
        self._look_in(_TICK_S if next_in_s is None else min(next_in_s, _TICK_S))
        if self._ending:
            self._end_some()


def _is_ended(job_id: str, sources: Iterable[Headers]) -> bool:
    """Return whether Celery ends a job as it sees it: it was revoked, or has expired."""
    return job_id in state.revoked or any(map(_has_expired, sources))


def _has_expired(headers: Headers) -> bool:
    """Return whether Celery finds that a job has expired, and ends it."""
    try:
        expires = maybe_iso8601(headers.get("expires"))
    except (TypeError, ValueError, AttributeError):
        return True  # Celery refuses it.
    if expires is None:
        return False
    return bool((expires if expires.tzinfo else expires.replace(tzinfo=UTC)) < datetime.now(UTC))
