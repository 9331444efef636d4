"""From a message to a job in flight: the `Task.Strategy` of `sentq.score`.

A plain job goes to the dispatcher, which batches it with others. A job that uses more of Celery
(eta, expires, retries, group, chain, chord, links, stamps, time limits, compression) becomes a
request of Celery's. The consumer has it scored with the others, and Celery finishes it, so
everything that Celery promises keeps working. The same holds for all jobs while the task has a
rate limit.

Plain jobs arrive in two ways. Our channel passes on what it took from Redis (`take_plain`).
Another broker's channel delivers kombu's messages to the handler that Celery asked the strategy
for (`batching`), and so does ours for a message that is not certainly plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

from sentq.contract import CALLBACK_HEADER, TASK_NAME
from sentq.errors import InvalidInput, MessageTooLarge
from sentq_worker.broker.intake.waiting import Look
from sentq_worker.broker.message import (
    Envelope,
    check_headers,
    is_plain,
    plain_arguments,
    plain_body,
)
from sentq_worker.broker.protocols import DeliveredMessage, Headers
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.celery_worker.canvas.signatures import check_signatures
from sentq_worker.celery_worker.protocols import MessageHandler, StrategyConsumer
from sentq_worker.celery_worker.runtime import WorkerRuntime, runtime_of
from sentq_worker.celery_worker.schedule.job_schedule import JobSchedule
from sentq_worker.jobs.ack_handles import AckHandle, MessageAck, RedisAck
from sentq_worker.jobs.in_flight import InFlightJob, check_options

if TYPE_CHECKING:
    from celery import Celery, Task

__all__ = ["JobIntake", "batching", "with_checked_signatures"]


class JobIntake:
    """Passes the plain jobs of one connection to the dispatcher. It is also the delegate of our
    channel (`ChannelDelegate`).

    Args:
        runtime: The parts of the worker.
        consumer: Celery's consumer on the connection.
    """

    def __init__(self, runtime: WorkerRuntime, consumer: StrategyConsumer) -> None:
        self._encryption = runtime.encryption
        self._limits = runtime.encryption.limits
        self._job_callbacks = runtime.job_callbacks
        self._dispatcher = runtime.dispatcher
        self._schedule = runtime.schedule
        self._batch_callbacks = runtime.batch_callbacks
        self._consumer = consumer
        #: The worker's name.
        self.worker = consumer.hostname

    def take_plain(self, envelope: Envelope, tag: str) -> bool:
        """Take the job in a message from Redis, if it certainly is plain; return whether it is.

        Raises:
            Undecryptable: Its texts are encrypted, and cannot be decrypted here.
        """
        headers = envelope["headers"]
        if not (is_plain(headers) or self._schedule.is_plain_and_due(headers)):
            return False
        if self._needs_requests or self._has_bad_callback(headers):
            return False
        body = plain_body(envelope)
        if body is None or len(body) > self._limits.bytes_per_message:
            return False
        delivery_info = envelope["properties"]["delivery_info"]
        return self._take(headers, delivery_info, body, RedisAck(tag))

    def on_dead_letter(self, headers: Headers, reason: str, error: Exception | None = None) -> None:
        """Store that a job failed whose message the channel dead-letters."""
        self._dispatcher.fail_dead_letter(headers, reason, error)

    def on_look(self, look: Look) -> None:
        """Pass on what the channel has seen in Redis."""
        self._schedule.seen(look.next_job_in_s)
        if look.waiting_callbacks:
            self._batch_callbacks.publish(self._consumer.app.backend.client)

    def take_message(self, message: DeliveredMessage) -> bool:
        """Take the job in a message of kombu's, if it is plain; return whether it is.

        Raises:
            Undecryptable: Its texts are encrypted, and cannot be decrypted here.
        """
        is_plain_json = (
            message.content_type == "application/json"
            and message.content_encoding == "utf-8"
            and not message.errors
        )
        if not is_plain_json or not is_plain(message.headers) or self._needs_requests:
            return False
        if self._has_bad_callback(message.headers):
            return False
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        return self._take(message.headers, message.delivery_info, body, self._ack(message))

    def refuse_if_too_large(self, message: DeliveredMessage) -> bool:
        """Complete a job, plain or not, whose message is larger than the limit; return whether it
        is."""
        size_bytes, limit = len(message.body), self._limits.bytes_per_message
        if size_bytes <= limit:
            return False
        error = MessageTooLarge(f"{size_bytes:,} bytes; the limit is {limit:,} a message")
        job = _in_flight(message.headers, [], message.delivery_info, self._ack(message))
        self._dispatcher.refuse(job, error)
        return True

    @property
    def _needs_requests(self) -> bool:
        """Whether a rate limit, or a plug-in, needs Celery's own requests."""
        consumer = self._consumer
        is_limited = not consumer.disable_rate_limits and consumer.task_buckets[TASK_NAME]
        return bool(is_limited or consumer.on_task_message)

    def _has_bad_callback(self, headers: Headers) -> bool:
        return CALLBACK_HEADER in headers and not self._job_callbacks.allows(headers)

    def _take(
        self, headers: Mapping[str, Any], delivery_info: Headers, body: bytes, ack_handle: AckHandle
    ) -> bool:
        arguments = plain_arguments(body)
        if arguments is None:
            return False
        texts: Sequence[object] = []
        try:
            texts, asked = self._encryption.read(headers["id"], *arguments)
            check_options(headers, len(texts))
        except InvalidInput as error:
            self._dispatcher.refuse(_in_flight(headers, texts, delivery_info, ack_handle), error)
        else:
            job = _in_flight(headers, texts, delivery_info, ack_handle)
            job.asked = asked
            self._dispatcher.add(job)
        return True

    def _ack(self, message: DeliveredMessage) -> MessageAck:
        connection = self._dispatcher.connection
        return MessageAck(message, connection, self._consumer.connection_errors)


def _in_flight(
    headers: Mapping[str, Any],
    texts: Sequence[object],
    delivery_info: Headers,
    ack_handle: AckHandle,
) -> InFlightJob:
    return InFlightJob(headers["id"], texts, headers, delivery_info, ack_handle)


def batching(task: Task, app: Celery, consumer: StrategyConsumer) -> MessageHandler:
    """Make the handler of this task's messages, for one connection. Called by Celery."""
    celerys_own: MessageHandler = default(task, app, consumer)
    runtime = runtime_of(app)
    if consumer.hub is None:
        # The engine's thread cannot wake a transport without an event loop.
        return with_checked_signatures(celerys_own, runtime.follow_rules, runtime.schedule)
    intake = JobIntake(runtime, consumer)

    def handle(
        message: DeliveredMessage,
        body: Headers | None,
        ack: object,
        reject: object,
        callbacks: object,
    ) -> None:
        if intake.refuse_if_too_large(message):
            return
        if body is None and intake.take_message(message):
            return
        if body is None:
            _check_shape(message.payload)
        else:
            check_headers(body)
        check_signatures(message, runtime.follow_rules)
        runtime.job_callbacks.check(message.headers)
        if not runtime.schedule.holds(message):
            celerys_own(message, body, ack, reject, callbacks)

    return handle


def with_checked_signatures(
    handle: MessageHandler, rules: FollowRules, schedule: JobSchedule
) -> MessageHandler:
    """Return a handler that checks what a message says shall follow its job.

    Args:
        handle: Celery's handler.
        rules: What may follow a job.
        schedule: Where jobs with an eta wait. The handler raises EtaTooFar or ScheduleFull if
            it refuses one.
    """

    def check_and_handle(
        message: DeliveredMessage,
        body: Headers | None,
        ack: object,
        reject: object,
        callbacks: object,
    ) -> None:
        check_signatures(message, rules)
        if schedule.holds(message):
            return
        if refusal := schedule.refusal_of(message):
            raise refusal
        handle(message, body, ack, reject, callbacks)

    return check_and_handle


def _check_shape(payload: object) -> None:
    """Check the shape of a body: Celery acknowledges a job whose body has another shape, and
    stores nothing.

    Raises:
        InvalidTaskError: It has another shape.
    """
    match payload:
        case {"args": _} | [list(), dict(), dict() | None]:
            return
    raise InvalidTaskError("the body is not [args, kwargs, embed]")
