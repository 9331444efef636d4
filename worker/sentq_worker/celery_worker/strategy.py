"""From a message to a job in hand: the `Task.Strategy` of `sentq.score`.

A plain job goes to the dispatcher, which batches it with others. A job that uses more of Celery
(eta, expires, retries, group, chain, chord, links, stamps, time limits, compression) takes
Celery's own path, where the task's body has it scored alone: everything that Celery promises
keeps working. So do all jobs while the task has a rate limit.

Plain jobs arrive by two doors. Our channel hands over what it took from Redis (`take_plain`);
another broker's channel, and ours for whatever is not certainly plain, delivers kombu's messages
to the handler that Celery asked the strategy for (`batching`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

from sentq.contract import Limits
from sentq.errors import InvalidInput, MessageTooLarge
from sentq_worker.broker.message import check_headers, is_plain, plain_arguments, plain_body
from sentq_worker.jobs.deadline import check_deadline
from sentq_worker.jobs.dispatcher import Dispatcher
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["PlainJobs", "batching"]

Handler = Callable[..., Any]


class PlainJobs:
    """Puts the plain jobs of one connection into the dispatcher's hands."""

    def __init__(self, task: Any, consumer: Any) -> None:
        self._task_name = task.name
        self._service = task.service
        self._limits: Limits = task.service.limits
        self._dispatcher: Dispatcher = task.dispatcher
        self._consumer = consumer

    def take_plain(self, envelope: dict[str, Any], tag: str) -> bool:
        """Take the job in a message from Redis, if it certainly is plain; returns whether."""
        headers = envelope["headers"]
        if not is_plain(headers) or self._is_watched:
            return False
        body = plain_body(envelope)
        if body is None or len(body) > self._limits.bytes_per_message:
            return False
        return self._take(headers, envelope["properties"]["delivery_info"], body, tag)

    def take_message(self, message: Any) -> bool:
        """Take the job in a message of kombu's, if it is plain; returns whether."""
        is_plain_json = (
            message.content_type == "application/json"
            and message.content_encoding == "utf-8"
            and not message.errors
        )
        if not is_plain_json or not is_plain(message.headers) or self._is_watched:
            return False
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        return self._take(message.headers, message.delivery_info, body, message)

    def refuse_if_too_large(self, message: Any) -> bool:
        """End a job, plain or not, whose message breaks the limit; returns whether it does."""
        size_bytes, limit = len(message.body), self._limits.bytes_per_message
        if size_bytes <= limit:
            return False
        job = self._held(message.headers, message.delivery_info, message)
        error = MessageTooLarge(f"{size_bytes:,} bytes; the limit is {limit:,} a message")
        self._dispatcher.refuse(job, error)
        return True

    @property
    def _is_watched(self) -> bool:
        """Whether somebody counts on Celery's own Request: a rate limit, or a plug-in."""
        consumer = self._consumer
        is_limited = not consumer.disable_rate_limits and consumer.task_buckets[self._task_name]
        return bool(is_limited or consumer.on_task_message)

    def _take(
        self, headers: dict[str, Any], delivery_info: dict[str, Any], body: bytes, ack_handle: Any
    ) -> bool:
        arguments = plain_arguments(body)
        if arguments is None:
            return False
        job = self._held(headers, delivery_info, ack_handle)
        try:
            job.texts = self._service.texts(*arguments)
            check_deadline(headers)
        except InvalidInput as error:
            self._dispatcher.refuse(job, error)
        else:
            self._dispatcher.add(job)
        return True

    def _held(
        self, headers: dict[str, Any], delivery_info: dict[str, Any], ack_handle: Any
    ) -> InFlightJob:
        connection = self._dispatcher.connection
        return InFlightJob(headers["id"], [], headers, delivery_info, ack_handle, connection)


def batching(task: Any, app: Any, consumer: Any) -> Handler:
    """Make the handler of this task's messages, for one connection. Called by Celery."""
    celerys_own: Handler = default(task, app, consumer)
    if consumer.hub is None:
        # A transport without an event loop has nothing that the engine could wake.
        return celerys_own
    plain = PlainJobs(task, consumer)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        if plain.refuse_if_too_large(message):
            return
        if body is None and plain.take_message(message):
            return
        if body is None:
            _check_shape(message.payload)
        else:
            check_headers(body)
        celerys_own(message, body, ack, reject, callbacks)

    return handle


def _check_shape(payload: Any) -> None:
    """Celery acknowledges a job whose body has another shape, and stores nothing.

    Raises:
        InvalidTaskError: It has.
    """
    match payload:
        case {"args": _} | [list(), dict(), dict() | None]:
            return
    raise InvalidTaskError("the body is not [args, kwargs, embed]")
