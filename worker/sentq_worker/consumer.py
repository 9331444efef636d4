"""Celery's consumer, for messages that nobody can handle.

Celery logs the body of such a message, or ends the worker over it, or both in a circle. Here it
becomes a dead letter with a reason, the log says that and no more, and the worker goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer as CeleryConsumer

from sentq.contract import TASK_NAME
from sentq_worker.transport import Channel

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)


class Consumer(CeleryConsumer):
    """Buries what cannot be handled."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Make what is called for each message that arrives."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_bury(message: Any) -> None:
            try:
                handle(message)
            except self.connection_errors:
                raise
            except Exception as error:  # noqa: BLE001 - no message may end the worker
                self._bury(message, f"{type(error).__name__} as it was handled")

        return handle_or_bury

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's
        """It is no task at all."""
        self._bury(message, "it is not a task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Its task is not ours. Whoever waits for it is told."""
        job_id = message.headers.get("id")
        if isinstance(job_id, str):
            self.app.tasks[TASK_NAME].dispatcher.refuse_id(
                job_id, NotRegistered("this worker knows no such task")
            )
        self._bury(message, "its task is not registered here")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Its headers or its body are not a task's."""
        self._bury(message, f"{type(exc).__name__} as it was read")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body cannot be decoded, or may not be."""
        self._bury(message, f"{type(exc).__name__} as it was decoded")

    def _bury(self, message: Any, reason: str) -> None:
        if message.acknowledged:
            return
        if isinstance(message.channel, Channel):
            message.channel.bury(message.delivery_tag, orjson.dumps(message._raw), reason)  # noqa: SLF001
            message._state = "REJECTED"  # noqa: SLF001 - removed above, in the same step
        else:
            logger.error("a message was rejected: %s", reason)
            message.reject_log_error(logger, self.connection_errors)
