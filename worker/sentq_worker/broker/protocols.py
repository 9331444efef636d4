"""What this worker uses of Celery's and kombu's objects, which come without types.

Each protocol names only the attributes that the worker reads, so a change in Celery or kombu that
matters here shows in one place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

__all__ = [
    "DeliveredMessage",
    "EventDispatcher",
    "EventLoop",
    "Headers",
    "JobConsumer",
    "RepeatingEventLoop",
    "TaskConsumer",
]

#: The headers of a message, or its delivery info: JSON that its sender wrote.
Headers = Mapping[str, object]


class EventLoop(Protocol):
    """The event loop of a connection, `kombu.asynchronous.Hub`."""

    def call_soon(self, callback: Callable[..., object], /, *args: object) -> object: ...

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: object) -> object:
        """Call in so many seconds."""
        ...


class RepeatingEventLoop(EventLoop, Protocol):
    """An event loop that also calls again and again, `kombu.asynchronous.Hub`."""

    def call_repeatedly(
        self, delay: float, callback: Callable[..., object], /, *args: object
    ) -> object:
        """Call every so many seconds."""
        ...


class EventDispatcher(Protocol):
    """Publishes events to monitors, `celery.events.EventDispatcher`."""

    @property
    def enabled(self) -> bool: ...

    @property
    def groups(self) -> Collection[str]:
        """The kinds of events that are published; an empty one stands for all."""
        ...

    def send(self, type: str, /, **fields: object) -> object: ...  # noqa: A002 - Celery's name


class TaskConsumer(Protocol):
    """Receives the messages of the task queues, `kombu.messaging.Consumer`."""

    @property
    def channel(self) -> object: ...


class JobConsumer(Protocol):
    """Celery's consumer on one connection, `celery.worker.consumer.Consumer`."""

    @property
    def hostname(self) -> str: ...

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]: ...

    @property
    def task_consumer(self) -> TaskConsumer: ...

    @property
    def event_dispatcher(self) -> EventDispatcher | None: ...


class DeliveredMessage(Protocol):
    """A message, `kombu.message.Message`."""

    #: What was read from Redis, and whether it was acknowledged, rejected or requeued.
    _raw: object
    _state: str

    body: bytes | str
    content_type: str | None
    content_encoding: str | None

    @property
    def headers(self) -> dict[str, object]: ...

    @property
    def delivery_info(self) -> Headers: ...

    @property
    def delivery_tag(self) -> str: ...

    @property
    def errors(self) -> Collection[object]:
        """The errors of its decoding."""
        ...

    @property
    def payload(self) -> object:
        """The decoded body. Decodes it if it is asked for the first time."""
        ...

    @property
    def channel(self) -> object: ...

    @property
    def acknowledged(self) -> bool: ...

    def ack_log_error(
        self, logger: logging.Logger, errors: tuple[type[BaseException], ...]
    ) -> None:
        """Acknowledge it; log an error of the connection instead of raising it."""
        ...

    def reject_log_error(
        self, logger: logging.Logger, errors: tuple[type[BaseException], ...]
    ) -> None:
        """Reject it; log an error of the connection instead of raising it."""
        ...
