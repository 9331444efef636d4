"""Celery's consumer: has requests scored before their task runs, and dead-letters messages that
cannot be handled.

Celery logs the body of such a message, or ends the worker over it, or both again and again. Here
the message becomes a dead letter with a reason, only the reason is logged, and the worker goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer as CeleryConsumer

from sentq.contract import NO_OPTIONS, TASK_NAME, JobOptions
from sentq.errors import EtaTooFar, InvalidInput, LinkRefused, ScheduleFull, Undecryptable
from sentq.wire.dead_letters import DeadLetterCode
from sentq_worker.broker.at_maxmemory.backends import without_subscriptions
from sentq_worker.broker.at_maxmemory.clients import beyond_maxmemory
from sentq_worker.broker.channel import Channel, is_connection_error
from sentq_worker.broker.connect import exit_if_declaration_is_refused, wait_for_redis
from sentq_worker.broker.delivery import set_count
from sentq_worker.broker.message import InvalidHeaders, check_headers
from sentq_worker.broker.protocols import DeliveredMessage
from sentq_worker.celery_worker.canvas.follow import waiting_ids
from sentq_worker.celery_worker.protocols import TaskRequest
from sentq_worker.celery_worker.runtime import runtime_of
from sentq_worker.celery_worker.strategy import with_checked_signatures
from sentq_worker.jobs.ack_handles import CeleryHandback
from sentq_worker.jobs.in_flight import InFlightJob, check_options
from sentq_worker.tracing.followers import in_trace_of

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)

#: Begins the names of tasks that each Celery app has. They run, or show, what their arguments say.
_CELERYS_OWN: Final = "celery."

_RunRequest = Callable[[TaskRequest], object]


class Consumer(CeleryConsumer):
    """Dead-letters what cannot be handled, and has jobs scored before Celery runs their task."""

    def __init__(self, on_task_request: _RunRequest, *args: Any, **kwargs: Any) -> None:
        if runtime_of(kwargs["app"]).settings.remote_control != "full":
            # With these, workers also obey what events and replies of other workers say: they
            # publish tasks, and forget jobs as revoked.
            quiet = {"without_gossip": True, "without_mingle": True}
            kwargs["worker_options"] = (kwargs.get("worker_options") or {}) | quiet
        super().__init__(on_task_request, *args, **kwargs)
        if self.hub is not None:
            self._run = on_task_request
            self.on_task_request = self._score_first
        self._was_connected = False

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect; Celery calls this for each new connection."""
        if not self._was_connected:
            limit_s = runtime_of(self.app).settings.start_wait_s
            wait_for_redis(conn, self.app.backend, limit_s=limit_s)
            self._was_connected = True
        return super().ensure_connected(conn)

    def start(self) -> None:
        """Take messages until the worker ends. Celery calls this once."""
        with exit_if_declaration_is_refused():
            super().start()

    def _score_first(self, request: TaskRequest) -> None:
        """Pass the job of a request to the dispatcher, which hands it back with its result.
        Celery calls this for each request whose time has come."""
        runtime = runtime_of(self.app)
        if request.task.name != TASK_NAME:
            with runtime.loop_watchdog.paused(), beyond_maxmemory(is_permitted=False):
                self._run(request)
            return
        if refusal := runtime.schedule.refusal_of(request.message):
            runtime.dispatcher.refuse(self._in_flight(request, []), refusal)
            return
        try:
            texts, asked = runtime.encryption.read(request.id, request.args, request.kwargs)
            check_options(request.request_dict, len(texts))
        except InvalidInput as error:
            runtime.dispatcher.refuse(self._in_flight(request, []), error)
        except Undecryptable as error:
            self._dead_letter_undecryptable(request.message, error)
        else:
            runtime.dispatcher.add(self._in_flight(request, texts, asked))

    def _in_flight(
        self, request: TaskRequest, texts: Sequence[object], asked: JobOptions = NO_OPTIONS
    ) -> InFlightJob:
        """Return the job of a request, which Celery finishes once its result is known."""
        runtime = runtime_of(self.app)
        run = partial(in_trace_of, request.request_dict, partial(self._run, request))
        handback = CeleryHandback(
            request.id,
            tag=_tag(request.message),
            connection=runtime.dispatcher.connection,
            is_ended=partial(self._or_dead_letter, request, request.revoked),
            run=partial(self._or_dead_letter, request, run),
            prepared=runtime.prepared,
        )
        job = InFlightJob(request.id, texts, request.request_dict, request.delivery_info, handback)
        job.asked = asked
        return job

    def _or_dead_letter(self, request: TaskRequest, call: Callable[[], object]) -> bool:
        """Call a function of a request; return whether it returned something true. If it fails,
        dead-letter the request's message and return True."""
        try:
            with beyond_maxmemory(), without_subscriptions():
                return bool(call())
        except Exception as error:
            if is_connection_error(error, self.connection_errors):
                raise
            self._dead_letter(request.message, f"{type(error).__name__} while the job was run")
            return True

    def update_strategies(self) -> None:
        """Accept the task `sentq.score`, and those that an application may have added, but none
        of Celery's own."""
        super().update_strategies()
        runtime = runtime_of(self.app)
        for name, handle in list(self.strategies.items()):
            if name.startswith(_CELERYS_OWN):
                del self.strategies[name]
            elif name != TASK_NAME:
                self.strategies[name] = with_checked_signatures(
                    handle, runtime.follow_rules, runtime.schedule
                )

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[DeliveredMessage], None]:
        """Make the handler of each message that arrives."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_dead_letter(message: DeliveredMessage) -> None:
            if not isinstance(message.channel, Channel):
                set_count(message.headers, None)  # Another broker's deliveries are not counted.
            try:
                check_headers(message.headers)
                with beyond_maxmemory():
                    handle(message)
            except InvalidHeaders as error:
                self._dead_letter(message, str(error))
            except Undecryptable as error:
                self._dead_letter_undecryptable(message, error)
            except LinkRefused as error:
                code, waiting = DeadLetterCode.LINK_REFUSED, waiting_ids(message.payload)
                self._dead_letter(message, str(error), error, code=code, waiting=waiting)
            except (EtaTooFar, ScheduleFull) as error:
                self._dead_letter(message, str(error), error)
            except Exception as error:
                if is_connection_error(error, self.connection_errors):
                    raise
                reason = f"{type(error).__name__} while the message was handled"
                self._dead_letter(message, reason)

        return handle_or_dead_letter

    def on_unknown_message(self, body: object, message: DeliveredMessage) -> None:  # noqa: ARG002 - Celery's
        """Dead-letter a message that is not a task."""
        self._dead_letter(message, "the message is not a task")

    def on_unknown_task(self, body: object, message: DeliveredMessage, exc: Exception) -> None:  # noqa: ARG002
        """Dead-letter a task that this worker does not know."""
        error = NotRegistered("this worker knows no such task")
        reason = "the task is not registered here"
        self._dead_letter(message, reason, error, code=DeadLetterCode.UNKNOWN_TASK)

    def on_invalid_task(self, body: object, message: DeliveredMessage, exc: Exception) -> None:  # noqa: ARG002
        """Dead-letter a message whose headers or body are not those of a task."""
        is_ours = isinstance(exc, InvalidHeaders)
        reason = str(exc) if is_ours else f"{type(exc).__name__} while the message was read"
        self._dead_letter(message, reason)

    def on_decode_error(self, message: DeliveredMessage, exc: Exception) -> None:
        """Dead-letter a message whose body cannot be decoded, or may not be."""
        self._dead_letter(message, f"{type(exc).__name__} while the message was decoded")

    def _dead_letter_undecryptable(self, message: DeliveredMessage, error: Undecryptable) -> None:
        self._dead_letter(message, str(error), error, code=DeadLetterCode.UNDECRYPTABLE)

    def _dead_letter(
        self,
        message: DeliveredMessage,
        reason: str,
        error: Exception | None = None,
        *,
        code: DeadLetterCode = DeadLetterCode.MALFORMED,
        waiting: Iterable[str] = (),
    ) -> None:
        if message.acknowledged:
            return
        dispatcher = runtime_of(self.app).dispatcher
        dispatcher.fail_dead_letter(message.headers, reason, error, waiting=waiting)
        if isinstance(message.channel, Channel):
            message.channel.dead_letter(
                message.delivery_tag,
                # Not orjson: only the lenient module writes what a lenient one has read.
                json.dumps(message._raw).encode(),  # noqa: SLF001
                reason,
                code=code,
                headers=message.headers,
                queue=_queue(message),
            )
            message._state = "REJECTED"  # noqa: SLF001 - removed above, in the same step
        else:
            logger.error("a message was rejected: %s", reason)
            message.reject_log_error(logger, self.connection_errors)


def _queue(message: DeliveredMessage) -> str | None:
    queue = message.delivery_info.get("routing_key")
    return None if queue is None else str(queue)


def _tag(message: DeliveredMessage) -> str | None:
    """Return the tag under which a message is recorded in Redis; None if another broker delivered
    it."""
    return message.delivery_tag if isinstance(message.channel, Channel) else None
