"""Celery's consumer: what becomes of messages that nobody can handle, and of requests.

Celery logs the body of such a message, or ends the worker over it, or both in a circle. Here it
becomes a dead letter with a reason, the log says that and no more, and the worker goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer as CeleryConsumer

from sentq.contract import TASK_NAME
from sentq.errors import InvalidInput
from sentq.wire.dead_letters import DeadLetterCode
from sentq_worker.broker.channel import Channel, is_connection_error
from sentq_worker.broker.connect import wait_for_redis
from sentq_worker.broker.delivery import job_id
from sentq_worker.broker.message import InvalidHeaders, check_headers
from sentq_worker.jobs.deadline import check_deadline
from sentq_worker.jobs.handback import CeleryHandback
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)

#: Names of tasks that each Celery app has. They run, or show, whatever their arguments say.
_CELERYS_OWN: Final = "celery."


class Consumer(CeleryConsumer):
    """Buries what cannot be handled, and has jobs scored before Celery runs their task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.hub is not None:
            self._run: Callable[[Any], None] = args[0]
            self.on_task_request = self._score_first
        self._was_connected = False

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; Celery calls this for each new connection."""
        if not self._was_connected:
            limit_s = self.app.tasks[TASK_NAME].service.settings.start_wait_s
            wait_for_redis(conn, self.app.backend, limit_s=limit_s)
            self._was_connected = True
        return super().ensure_connected(conn)

    def _score_first(self, request: Any) -> None:
        """Have the dispatcher score the job of a request, and resume it; Celery calls this for
        each request whose time has come."""
        task = request.task
        if task.name != TASK_NAME:
            self._run(request)
            return
        try:
            texts = task.service.texts(request.args, request.kwargs)
            check_deadline(request.request_dict)
        except InvalidInput:
            self._run(request)  # The task's body finds the same, and Celery says it.
            return
        own = CeleryHandback(
            request.id,
            tag=_tag(request.message),
            is_over=partial(self._or_dead_letter, request, request.revoked),
            run=partial(self._or_dead_letter, request, partial(self._run, request)),
            prepared=task.prepared,
        )
        headers, delivery_info = request.request_dict, request.delivery_info
        connection = task.dispatcher.connection
        task.dispatcher.add(InFlightJob(request.id, texts, headers, delivery_info, own, connection))

    def _or_dead_letter(self, request: Any, call: Callable[[], Any]) -> Any:
        """Do something with a request; bury it, and return True, where it cannot be done."""
        try:
            return call()
        except Exception as error:
            if is_connection_error(error, self.connection_errors):
                raise
            self._dead_letter(request.message, f"{type(error).__name__} as it was run")
            return True

    def update_strategies(self) -> None:
        """Know our task alone, and what an application may have added."""
        super().update_strategies()
        for name in [name for name in self.strategies if name.startswith(_CELERYS_OWN)]:
            del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Make what is called for each message that arrives."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_dead_letter(message: Any) -> None:
            try:
                check_headers(message.headers)
                handle(message)
            except InvalidHeaders as error:
                self._dead_letter(message, str(error))
            except Exception as error:
                if is_connection_error(error, self.connection_errors):
                    raise
                self._dead_letter(message, f"{type(error).__name__} as it was handled")

        return handle_or_dead_letter

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's
        """It is no task at all."""
        self._dead_letter(message, "it is not a task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Its task is not ours."""
        error = NotRegistered("this worker knows no such task")
        reason = "its task is not registered here"
        self._dead_letter(message, reason, error, code=DeadLetterCode.UNKNOWN_TASK)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Its headers or its body are not a task's."""
        is_ours = isinstance(exc, InvalidHeaders)
        self._dead_letter(message, str(exc) if is_ours else f"{type(exc).__name__} as it was read")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body cannot be decoded, or may not be."""
        self._dead_letter(message, f"{type(exc).__name__} as it was decoded")

    def _dead_letter(
        self,
        message: Any,
        reason: str,
        error: Exception | None = None,
        *,
        code: DeadLetterCode = DeadLetterCode.MALFORMED,
    ) -> None:
        if message.acknowledged:
            return
        self.tell(message.headers, reason, error)
        if isinstance(message.channel, Channel):
            # Not orjson: what was read leniently may hold what only the lenient can write.
            raw = json.dumps(message._raw).encode()  # noqa: SLF001
            queue = message.delivery_info.get("routing_key")
            told = {"code": code, "headers": message.headers, "queue": queue}
            message.channel.dead_letter(message.delivery_tag, raw, reason, **told)
            message._state = "REJECTED"  # noqa: SLF001 - removed above, in the same step
        else:
            logger.error("a message was rejected: %s", reason)
            message.reject_log_error(logger, self.connection_errors)

    def tell(self, headers: Mapping[str, Any], reason: str, error: Exception | None = None) -> None:
        """Tell whoever waits for a job that its message was buried, if the headers say which
        job it is."""
        if found := job_id(headers):
            error = error or InvalidInput(f"the job's message was refused: {reason}")
            self.app.tasks[TASK_NAME].dispatcher.refuse_id(found, error)


def _tag(message: Any) -> str | None:
    """Under which a message is noted in Redis; None where another broker delivered it."""
    tag: str = message.delivery_tag
    return tag if isinstance(message.channel, Channel) else None
