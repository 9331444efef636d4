"""Sending jobs: one Celery task message a job, accepted within the configured time-outs.

Where broker and results are one Redis, as they are unless somebody says otherwise, one script
makes jobs known and puts their messages into the queue: all of them or none, one job or five
hundred in one round trip. The messages are filled into a form that Celery made.

Elsewhere, and wherever somebody listens to what Celery says as it publishes (its signals, its
`task-sent` events), Celery publishes each message itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis
from celery import signals

from sentq.connection.broker import open_broker
from sentq.connection.clock import RedisClock
from sentq.contract import DEADLINE_HEADER, LOCAL_ONLY_HEADER
from sentq.errors import (
    BrokerUnavailable,
    QueueFull,
    RedisFull,
    ResultsUnavailable,
    SettingsError,
)
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, queue_full
from sentq.sending.publish import Publisher
from sentq.sending.push import SendGroup, push
from sentq.sending.template import MessageTemplate
from sentq.wire.ids import new_job_ids
from sentq.wire.reports import read_reports

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results.reader import ResultReader

__all__ = ["SendOptions", "Sender"]

#: Jobs of one round trip. More of them are no faster, keep Redis from others for longer, and
#: some thousands are more than its Lua can pass on.
_JOBS_PER_STEP: Final = 500

#: Bytes of messages of one round trip, beyond a first one.
_BYTES_PER_STEP: Final = 4 * 1024 * 1024

_PUBLISH_SIGNALS: Final = (
    signals.before_task_publish,
    signals.after_task_publish,
    signals.task_sent,
)


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What a sender asks for beside being scored.

    `keys` has one for each job, or none at all; `deadline_s` is from now; `local_only` keeps the
    texts on the worker's machine.
    """

    keys: Sequence[str] = ()
    deadline_s: float | None = None
    local_only: bool = False


_NO_WISHES: Final = SendOptions()


class Sender:
    """Puts jobs into the broker. Safe to share between threads.

    Args:
        app: Where the broker is, and what a message looks like.
        results: Knows of jobs before they are sent.
        one_redis: Whether messages and results lie in the same database of one Redis.
        limits: What may wait in a queue.
    """

    def __init__(
        self, app: Celery, results: ResultReader, *, one_redis: bool, limits: QueueLimits
    ) -> None:
        self._app = app
        self._results = results
        self._one_redis = one_redis
        self._limits = limits
        self._clock = RedisClock(self._ask_time)
        self._jobs_per_step = min(_JOBS_PER_STEP, limits.jobs or _JOBS_PER_STEP)
        self._bytes_per_step = min(_BYTES_PER_STEP, limits.bytes or _BYTES_PER_STEP)
        self._templates: dict[tuple[str, int], MessageTemplate] = {}

    def send(
        self, jobs: Sequence[Sequence[str]], *, queue: str, wishes: SendOptions = _NO_WISHES
    ) -> list[str]:
        """Send jobs of checked texts and return their ids, in the same order.

        Raises:
            QueueFull, RedisFull: There was no room for a job.
            BrokerUnavailable: Nobody accepted a job within the time-outs.
            Either's `accepted` holds the ids of the jobs before it, which were accepted.
        """
        accepted: list[str] = []
        try:
            headers = self._headers(wishes)
            if self._one_redis and not self._events_enabled:
                for step in self._steps(jobs, queue, headers, wishes.keys):
                    accepted += push(self._results, step, queue, self._limits)
            else:
                publisher = Publisher(
                    self._app, self._results, queue, limits=self._limits, headers=headers
                )
                for place, texts in enumerate(jobs):
                    key = wishes.keys[place] if wishes.keys else None
                    accepted.append(publisher.publish(texts, key))
        except QueueLimitExceeded as no_room:
            raise self._queue_full(queue, no_room, accepted) from None
        except (BrokerUnavailable, ResultsUnavailable) as error:
            refusal = _not_sent(error, accepted)
            raise refusal from (error.__cause__ if refusal is error else error)
        return accepted

    @property
    def _events_enabled(self) -> bool:
        """Whether somebody would miss what Celery says as it publishes."""
        return bool(self._app.conf.task_send_sent_event) or any(
            signal.receivers for signal in _PUBLISH_SIGNALS
        )

    def _headers(self, wishes: SendOptions) -> dict[str, int | bool]:
        headers: dict[str, int | bool] = {}
        if wishes.deadline_s is not None:
            headers[DEADLINE_HEADER] = round((self._clock.now_s() + wishes.deadline_s) * 1000)
        if wishes.local_only:
            headers[LOCAL_ONLY_HEADER] = True
        return headers

    def _steps(
        self,
        jobs: Sequence[Sequence[str]],
        queue: str,
        headers: Mapping[str, int | bool],
        keys: Sequence[str],
    ) -> Iterator[SendGroup]:
        """The jobs, as many at a time as belong into one round trip."""
        fill = self._template(queue).with_headers(headers).fill
        sent = 0
        for first in range(0, len(jobs), self._jobs_per_step):
            some = jobs[first : first + self._jobs_per_step]
            ids: list[str] = []
            messages: list[bytes] = []
            size_bytes = 0
            for job_id, texts in zip(new_job_ids(len(some)), some, strict=True):
                message = fill(job_id, texts)
                size_bytes += len(message)
                if messages and size_bytes > self._bytes_per_step:
                    yield SendGroup(ids, messages, keys[sent : sent + len(ids)])
                    sent += len(ids)
                    ids, messages, size_bytes = [], [], len(message)
                ids.append(job_id)
                messages.append(message)
            yield SendGroup(ids, messages, keys[sent : sent + len(ids)])
            sent += len(ids)

    def _template(self, queue: str) -> MessageTemplate:
        # A message names the process that sent it, and this one may have been forked.
        key = queue, os.getpid()
        if key not in self._templates:
            self._templates[key] = MessageTemplate(self._app, queue)
        return self._templates[key]

    def _queue_full(
        self, queue: str, no_room: QueueLimitExceeded, accepted: list[str]
    ) -> QueueFull:
        try:
            if self._one_redis:
                reports = read_reports(self._app.backend.client)
            else:
                with open_broker(self._app) as broker:
                    reports = read_reports(broker.redis, prefix=broker.prefix)
        except (BrokerUnavailable, redis.RedisError):
            reports = []  # The refusal stands, whatever became of Redis since.
        error = queue_full(queue, self._limits, no_room, reports)
        error.accepted = accepted
        return error

    def _ask_time(self) -> float:
        if self._one_redis:
            seconds, microseconds = self._results.command("TIME")
        else:
            try:
                with open_broker(self._app) as broker:
                    seconds, microseconds = broker.redis.time()
            except SettingsError:
                return time.time()  # Brokers other than Redis tell no time.
        return float(seconds) + float(microseconds) / 1e6


def _not_sent(
    error: BrokerUnavailable | ResultsUnavailable, accepted: list[str]
) -> BrokerUnavailable | RedisFull:
    """What to tell the sender of jobs that were not accepted."""
    refusal: BrokerUnavailable | RedisFull
    if _is_out_of_memory(error):
        refusal = RedisFull("Redis is at its maxmemory; what it accepted before is intact")
    elif isinstance(error, BrokerUnavailable):
        refusal = error
    else:
        refusal = BrokerUnavailable(f"the job was not sent: {error}")
    refusal.accepted = accepted
    return refusal


def _is_out_of_memory(error: BaseException | None) -> bool:
    # An older Redis, and one that runs a script, says it somewhere in a longer message.
    return error is not None and (
        (isinstance(error, redis.ResponseError) and "OOM command not allowed" in str(error))
        or isinstance(error, redis.OutOfMemoryError)
        or _is_out_of_memory(error.__cause__)
    )
