"""Messages as kombu would write them into Redis, made without sending them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu import Connection
from kombu.transport import virtual

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["captured_message", "capturing_producer"]


class _Capture(virtual.Channel):
    """Keeps what is published, instead of sending it."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # noqa: ARG002 - kombu's signature
        self.connection.captured.append(message)  # kombu calls its transport a connection

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Create no queue."""


class _CaptureTransport(virtual.Transport):
    Channel = _Capture

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.captured: list[dict[str, Any]] = []


@contextmanager
def capturing_producer(app: Celery) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yield a producer of kombu's that sends nothing, and the list of the messages that it was
    given, each in kombu's envelope."""
    with Connection(transport=_CaptureTransport) as connection:
        yield app.amqp.Producer(connection), connection.transport.captured


def captured_message(app: Celery, message: Any, queue: str, **options: object) -> dict[str, Any]:
    """Return a message in kombu's envelope.

    Args:
        app: The app whose settings define the form of messages.
        message: What `app.amqp.create_task_message` returned.
        queue: The queue of the message.
        options: Options of kombu's for publishing, such as the priority.
    """
    with capturing_producer(app) as (producer, captured):
        # By the producer alone: Celery's sender would send signals and events too.
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue,
            serializer=app.conf.task_serializer,
            headers=message.headers,
            **message.properties,
            **options,
        )
    (envelope,) = captured
    return envelope
