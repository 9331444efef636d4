"""Sending by Celery, a message at a time: to brokers elsewhere, and where somebody listens.

What a script does in one step elsewhere takes several here: a queue may be a little longer than
its limits, and a key is reserved while its job is being sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import redis
from kombu.exceptions import OperationalError

from sentq.connection.broker import open_broker
from sentq.contract import MAX_BYTES_PER_MESSAGE, TASK_NAME, redacted
from sentq.errors import BrokerUnavailable, ResultsUnavailable
from sentq.sending.idempotency import KeyReservation
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.ids import new_job_ids

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results.reader import ResultReader

__all__ = ["Publisher"]

#: A pooled connection may be dead (Redis restarted): try once more on a new one, at once.
_RETRY_POLICY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0}

#: Jobs to send before looking again whether there is room.
_LOOK_AGAIN_AFTER: Final = 100


class Publisher:
    """Publishes jobs to one queue.

    Args:
        app: Where the broker is.
        results: Knows of jobs before they are sent.
        queue: Where they go.
        limits: What may wait there.
        headers: Of each message, beside Celery's own.
    """

    def __init__(
        self,
        app: Celery,
        results: ResultReader,
        queue: str,
        *,
        limits: QueueLimits,
        headers: Mapping[str, int | bool],
    ) -> None:
        self._app = app
        self._results = results
        self._queue = queue
        self._limits = limits
        self._headers = headers
        #: How many may be sent before looking again.
        self._room = 0

    def publish(self, texts: Sequence[str], key: str | None) -> str:
        """Send a job of checked texts; return its id, or that of the job that was sent before
        under the same key.

        Raises:
            NoRoom: The queue is full.
            BrokerUnavailable: It was not sent. The cause says why.
        """
        (job_id,) = new_job_ids(1)
        reservation = None
        try:
            if key is not None:
                lasts_s = _longest_s(self._app)
                reservation = KeyReservation(self._results, key, job_id, lasts_s=lasts_s)
                if known := reservation.take():
                    return known
            self._look_for_room()
            self._results.mark_queued(job_id)
            self._by_celery(job_id, texts)
        except (QueueLimitExceeded, BrokerUnavailable):
            self._undo(None, reservation)
            raise
        except ResultsUnavailable as error:
            self._undo(None, reservation)
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        except (OperationalError, redis.RedisError, OSError) as error:
            self._undo(job_id, reservation)
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        if reservation:
            _if_possible(reservation.keep)
        return job_id

    def _look_for_room(self) -> None:
        if self._limits and not self._room:
            self._room = self._measured_room()
        self._room -= 1

    def _measured_room(self) -> int:
        jobs, size_bytes = 0, 0
        with open_broker(self._app) as broker:
            for key in broker.lists(self._queue):
                jobs += int(broker.redis.llen(key))
                if self._limits.bytes is not None:
                    size_bytes += int(broker.redis.memory_usage(key, samples=5) or 0)
        room = _LOOK_AGAIN_AFTER
        if self._limits.jobs is not None:
            room = min(room, self._limits.jobs - jobs)
        if self._limits.bytes is not None:
            room = min(room, (self._limits.bytes - size_bytes) // MAX_BYTES_PER_MESSAGE)
        if room < 1:
            raise QueueLimitExceeded(
                QueueUsage(jobs, size_bytes), QueueUsage(1, MAX_BYTES_PER_MESSAGE)
            )
        return room

    def _by_celery(self, job_id: str, texts: Sequence[str]) -> None:
        # Not app.send_task, because that subscribes to the result of every job on a connection
        # that nobody here reads.
        amqp = self._app.amqp
        message = amqp.create_task_message(
            job_id,
            TASK_NAME,
            args=[list(texts)],
            kwargs={},
            argsrepr=redacted(len(texts)),
            kwargsrepr="{}",
            create_sent_event=self._app.conf.task_send_sent_event,
        )
        message.headers.update(self._headers)
        with self._app.producer_or_acquire() as producer:
            amqp.send_task_message(
                producer,
                TASK_NAME,
                message,
                queue=self._queue,
                retry=True,
                retry_policy=_RETRY_POLICY,
            )

    def _undo(self, job_id: str | None, reservation: KeyReservation | None) -> None:
        if job_id is not None:
            self._results.forget(job_id)
        if reservation is not None:
            _if_possible(reservation.release)


def _if_possible(call: Callable[[], None]) -> None:
    try:
        call()
    except ResultsUnavailable:
        return  # A reservation ends by itself.


def _longest_s(app: Celery) -> int:
    """How long sending a job may take: two attempts at each of some commands."""
    conf = app.conf
    once_s = float(conf.broker_connection_timeout) + float(conf.redis_socket_timeout)
    return math.ceil(4 * once_s)
