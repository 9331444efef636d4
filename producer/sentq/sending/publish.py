"""Send jobs by Celery, one message at a time: to other brokers, and if signals are observed.

A script does all in one step; here it takes several. So a queue may slightly exceed its limits,
and an idempotency key is reserved while its job is being sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sentq.connection.broker import BrokerKeys, broker_errors, run_on_broker, with_advice
from sentq.connection.stand_in import stand_in
from sentq.contract import BATCH_HEADER, MAX_BYTES_PER_MESSAGE, SEALED_FIELD, TASK_NAME, redacted
from sentq.errors import BrokerUnavailable, ResultsUnavailable, UnknownJob
from sentq.results.cancel import cancel_steps
from sentq.sending.batch import BatchStep, push_to_batch_steps
from sentq.sending.idempotency import KeyClaim, KeyReservation
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.ids import new_job_ids
from sentq.wire.scheduled import DueTime
from sentq.wire.sealing import Keyring, Purpose
from sentq.wire.steps import RoundTrip, Steps

if TYPE_CHECKING:
    from celery import Celery

    from sentq.results.reader import ResultReader

__all__ = ["Publisher"]

#: A pooled connection may be broken, after a restart of Redis: retry once on a new one, at once.
_RETRY_POLICY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0}

#: How many jobs are sent at most before the queue is measured again.
_MAX_JOBS_PER_MEASUREMENT: Final = 100


class Publisher:
    """Publishes jobs to one queue.

    Args:
        results: Makes jobs known before they are sent. Its app is that of the broker too.
        queue: The queue.
        limits: The limits of the queue.
        headers: Headers of each message, in addition to Celery's, or in place of these.
        asked: What the jobs ask for: arguments of each message, beside the texts.
        keyring: Encrypts the texts; None leaves them as they are.
    """

    def __init__(
        self,
        results: ResultReader,
        queue: str,
        *,
        limits: QueueLimits,
        headers: Mapping[str, int | bool | str],
        asked: Mapping[str, object],
        keyring: Keyring | None = None,
    ) -> None:
        self._app = results.app
        self._results = results
        self._queue = queue
        self._limits = limits
        self._headers = headers
        self._asked = asked
        self._keyring = keyring
        #: How many jobs may be sent before the queue is measured again.
        self._capacity = 0
        #: Jobs that entered a batch, were not sent, and could not be cancelled.
        self.unsent: list[str] = []

    def publish(
        self,
        texts: Sequence[str],
        claim: KeyClaim | None,
        *,
        at_s: float,
        step: BatchStep | None = None,
        due: DueTime | None = None,
    ) -> str:
        """Send a job of checked texts; return its id, or that of the job that was sent first under
        the same key.

        Args:
            texts: The texts.
            claim: The claim of an idempotency key, or None.
            at_s: The time that the id tells, in Unix seconds by Redis' clock.
            step: Where the job enters a batch, if it does. It does so before it is sent; if that
                fails, it is cancelled, and the batch counts it so.
            due: When the job is due, as its headers say; None if at once.

        Raises:
            QueueLimitExceeded: The queue is full.
            KeyMismatch: The key belongs to a job with other texts.
            BrokerUnavailable: The job was not sent. The cause says why.
            PlaceTaken, BatchClosed, BatchTooLarge, UnknownBatch: As for `push_to_batch_steps`.
        """
        (job_id,) = new_job_ids(1, at_s=at_s)
        reservation = None
        try:
            if claim is not None:
                lasts_s = _longest_s(self._app)
                reservation = KeyReservation(self._results, claim, job_id, lasts_s=lasts_s)
                if known := reservation.take():
                    return known
            self._require_capacity()
            self._make_known(job_id, step, due)
            self._by_celery(job_id, texts, step)
        except (QueueLimitExceeded, BrokerUnavailable):
            self._undo(None, reservation)
            raise
        except ResultsUnavailable as error:
            self._undo(job_id if step else None, reservation, step)
            raise BrokerUnavailable(f"the job was not sent: {error}") from error
        except broker_errors() as error:
            self._undo(job_id, reservation, step)
            raise BrokerUnavailable(f"the job was not sent: {with_advice(error)}") from error
        if reservation:
            kept_s, _ = self._results.queued_as(due)
            _if_possible(partial(reservation.keep, kept_s))
        return job_id

    def _make_known(self, job_id: str, step: BatchStep | None, due: DueTime | None) -> None:
        if step is None:
            self._results.mark_queued(job_id, due)
        else:
            self._results.run(
                push_to_batch_steps(
                    self._results, [job_id], (), self._queue, limits=self._limits, step=step
                )
            )

    def _require_capacity(self) -> None:
        if self._limits and not self._capacity:
            self._capacity = self._measured_capacity()
        self._capacity -= 1

    def _measured_capacity(self) -> int:
        usage = run_on_broker(self._app, self._usage_steps)
        capacity = _MAX_JOBS_PER_MEASUREMENT
        if self._limits.jobs is not None:
            capacity = min(capacity, self._limits.jobs - usage.jobs)
        if self._limits.bytes is not None:
            capacity = min(capacity, (self._limits.bytes - usage.bytes) // MAX_BYTES_PER_MESSAGE)
        if capacity < 1:
            raise QueueLimitExceeded(usage, QueueUsage(1, MAX_BYTES_PER_MESSAGE))
        return capacity

    def _usage_steps(self, broker: BrokerKeys) -> Steps[QueueUsage]:
        lists = broker.lists(self._queue)
        lengths = yield RoundTrip([("LLEN", key) for key in lists])
        sizes_bytes: list[int | None] = []
        if self._limits.bytes is not None:
            sizes_bytes = yield RoundTrip([("MEMORY", "USAGE", key, "SAMPLES", 5) for key in lists])
        return QueueUsage(sum(lengths), sum(size or 0 for size in sizes_bytes))

    def _by_celery(self, job_id: str, texts: Sequence[str], step: BatchStep | None) -> None:
        # Not app.send_task: it subscribes to the result of every job, on a connection that the
        # client does not read.
        amqp = self._app.amqp
        args, kwargs = self._arguments(job_id, texts)
        message = amqp.create_task_message(
            job_id,
            TASK_NAME,
            args=args,
            kwargs=kwargs,
            argsrepr=redacted(len(texts)),
            kwargsrepr="{}",
            create_sent_event=self._app.conf.task_send_sent_event,
        )
        message.headers.update(self._headers)
        if step is not None:
            message.headers[BATCH_HEADER] = str(step.first)
        with self._producer() as producer:
            amqp.send_task_message(
                producer,
                TASK_NAME,
                message,
                queue=self._queue,
                retry=True,
                retry_policy=_RETRY_POLICY,
            )

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        """Yield a producer of kombu's; of what stands in for Redis, while something does."""
        if stand_in() is None:
            with self._app.producer_or_acquire() as producer:
                yield producer
            return
        from kombu.utils.json import dumps

        from sentq.connection.capture import capturing_producer

        with capturing_producer(self._app) as (producer, messages):
            yield producer
        for message in messages:
            self._results.command("LPUSH", self._queue, dumps(message))

    def _arguments(
        self, job_id: str, texts: Sequence[str]
    ) -> tuple[list[object], dict[str, object]]:
        if self._keyring is None:
            return [list(texts)], {**self._asked}
        sealed = self._keyring.seal(texts, Purpose.TEXTS, job_id)
        return [], {SEALED_FIELD: sealed, **self._asked}

    def _undo(
        self,
        job_id: str | None,
        reservation: KeyReservation | None,
        step: BatchStep | None = None,
    ) -> None:
        if step is not None and job_id is not None:
            # Not forgotten: the batch counts it, and its message may be in the queue all the same.
            try:
                self._results.run(cancel_steps(self._results, job_id))
            except ResultsUnavailable:
                self.unsent.append(job_id)
            except UnknownJob:
                pass  # It did not enter the batch.
        elif job_id is not None:
            self._results.forget(job_id)
        if reservation is not None:
            _if_possible(reservation.release)


def _if_possible(call: Callable[[], None]) -> None:
    try:
        call()
    except ResultsUnavailable:
        return  # A reservation expires.


def _longest_s(app: Celery) -> int:
    """Return how long sending a job may take, in seconds: two attempts at each of two commands."""
    conf = app.conf
    once_s = float(conf.broker_connection_timeout) + float(conf.redis_socket_timeout)
    return math.ceil(4 * once_s)
