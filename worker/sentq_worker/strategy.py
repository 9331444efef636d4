"""From Celery's message to a job in hand: the `Task.Strategy` of `sentq.score`.

A plain job goes to the dispatcher, which batches it with others. A job that uses more of Celery
(eta, expires, retries, group, chain, chord, links, stamps, time limits) takes Celery's own path,
where the task's body has it scored alone: everything that Celery promises keeps working.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import orjson
from celery.utils.imports import symbol_by_name
from celery.worker.request import create_request_cls
from celery.worker.strategy import default

from sentq.errors import InvalidInput, MessageTooLarge

__all__ = ["batching"]

Handler = Callable[..., Any]

_TYPE_MARK: Final = b"__type__"

_UNUSUAL_HEADERS: Final = ("eta", "expires", "group", "retries", "stamped_headers", "stamps")
_UNUSUAL_EMBEDS: Final = ("callbacks", "errbacks", "chain", "chord")


def batching(task: Any, app: Any, consumer: Any) -> Handler:
    """Make the handler of this task's messages, for one connection. Called by Celery."""
    stock: Handler = default(task, app, consumer)
    if consumer.hub is None:
        # A transport without an event loop has nothing that the engine could wake.
        return stock
    hostname, eventer = consumer.hostname, consumer.event_dispatcher
    request_class = create_request_cls(
        symbol_by_name(task.Request), task, consumer.pool, hostname, eventer, app=app
    )
    dispatcher, service = task.dispatcher, task.service

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        too_large = len(message.body) > service.limits.bytes_per_message
        if not too_large:
            _decode(message)
        if not too_large and (body is not None or not _is_plain(message)):
            stock(message, body, ack, reject, callbacks)
            return
        request = request_class(
            message,
            on_ack=ack,
            on_reject=reject,
            app=app,
            hostname=hostname,
            eventer=eventer,
            task=task,
            connection_errors=consumer.connection_errors,
            headers=message.headers,
        )
        if request.revoked():
            return
        _announce(request)
        for callback in callbacks:
            callback(request)
        try:
            if too_large:
                raise MessageTooLarge(
                    f"{len(message.body):,} bytes; the limit is "
                    f"{service.limits.bytes_per_message:,} a message"
                )
            texts = service.texts(request.args, request.kwargs)
        except InvalidInput as error:
            dispatcher.refuse(request, error)
        else:
            dispatcher.add(request, texts)

    return handle


def _decode(message: Any) -> None:
    """Decode plain JSON in a microsecond. Kombu makes a decoder for each message, which takes
    thirty; it stays in charge of everything else, and of what it must refuse."""
    is_plain_json = (
        message.content_type == "application/json"
        and message.content_encoding == "utf-8"
        and "compression" not in message.headers
        and not message.errors
    )
    if is_plain_json:
        body = message.body
        raw = body if isinstance(body, bytes) else body.encode()
        # Kombu's mark of a date, a UUID or another type that JSON has not.
        if _TYPE_MARK not in raw:
            with contextlib.suppress(orjson.JSONDecodeError):
                message._decoded_cache = orjson.loads(raw)  # noqa: SLF001


def _is_plain(message: Any) -> bool:
    headers = message.headers
    if any(headers.get(name) for name in _UNUSUAL_HEADERS) or any(headers.get("timelimit") or ()):
        return False
    payload = message.payload
    if "args" in payload:  # Celery's older protocol
        return False
    embed = payload[2]
    return not any(embed.get(name) for name in _UNUSUAL_EMBEDS)


def _announce(request: Any) -> None:
    request.send_event(
        "task-received",
        name=request.name,
        args=request.argsrepr,
        kwargs=request.kwargsrepr,
        root_id=request.root_id,
        parent_id=request.parent_id,
        retries=0,
        eta=None,
        expires=None,
    )
