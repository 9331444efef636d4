"""Messages as kombu would write them into Redis, made without sending them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Connection
from kombu.transport import virtual

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["captured_message"]


class _Capture(virtual.Channel):
    """Keeps the one message that is published, instead of sending it."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # noqa: ARG002 - kombu's signature
        self.connection.captured = message  # kombu calls its transport a connection

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Create no queue."""


class _CaptureTransport(virtual.Transport):
    Channel = _Capture
    captured: Any = None


def captured_message(app: Celery, message: Any, queue: str, **options: object) -> dict[str, Any]:
    """Return a message in kombu's envelope.

    Args:
        app: The app whose settings define the form of messages.
        message: What `app.amqp.create_task_message` returned.
        queue: The queue of the message.
        options: Options of kombu's for publishing, such as the priority.
    """
    with Connection(transport=_CaptureTransport) as connection:
        # By the producer alone: Celery's sender would send signals and events too.
        app.amqp.Producer(connection).publish(
            message.body,
            exchange="",
            routing_key=queue,
            serializer=app.conf.task_serializer,
            headers=message.headers,
            **message.properties,
            **options,
        )
        envelope: dict[str, Any] = connection.transport.captured
    return envelope
