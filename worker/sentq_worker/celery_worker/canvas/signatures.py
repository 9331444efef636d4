"""What a message says shall follow its job (link, link_error, chain, chord), checked before Celery
reads it.

Celery publishes each of these signatures with the options that the signature carries, and waits in
the worker's event loop while it does: one `retry_policy` with a long interval stopped a worker for
good. So only options that name a place, a time or an id are kept, and their values are checked.
Celery publishes with the worker's own retry policy, whose time is bounded.

Which tasks may follow, and in which queues, is a setting (`canvas.follow`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

from kombu.utils.json import dumps

from sentq.errors import LinkRefused
from sentq_worker.broker.delivery import COUNT_HEADERS
from sentq_worker.broker.message import InvalidHeaders, check_eta, is_job_id
from sentq_worker.broker.protocols import DeliveredMessage
from sentq_worker.celery_worker.canvas.follow import FollowRules

__all__ = ["check_signature", "check_signatures", "is_task_id"]

logger = logging.getLogger(__name__)

#: The most signatures in one message, nested ones included. Each is published on its own.
_MAX_SIGNATURES: Final = 500

#: How deep signatures may be nested.
_MAX_DEPTH: Final = 20

#: The parts of a body, and where signatures stand in the last one.
_BODY_PARTS: Final = 3
_PLACES: Final = ("callbacks", "errbacks", "chain", "chord")

_MAX_NAME_CHARS: Final = 255
_MAX_PRIORITY: Final = 255
_MAX_SECONDS: Final = 366 * 24 * 60 * 60

#: Signatures of signatures, by their `subtask_type`, and the arguments that hold those.
_CANVAS: Final[dict[str, tuple[str, ...]]] = {
    "group": ("tasks",),
    "chain": ("tasks",),
    "chord": ("header", "body"),
}

#: The options that hold signatures, and those of them that hold one, and no list.
_SIGNATURES: Final = frozenset({"link", "link_error", "chain", "chord"})
_SINGLE: Final = frozenset({"chord"})

#: Begins the names of Celery's own tasks. As error callbacks they would run in this worker.
_CELERYS_OWN: Final = "celery."

#: Keys in Redis of kombu, Celery and sentq begin so. A queue of such a name damages them, or is
#: refused by Redis whenever something is published.
_RESERVED_NAMES: Final = (
    *("unacked", "_kombu.", "celery-task-meta-", "celery-taskset-meta-", "celeryev"),
    *("sentq.dead", "sentq.deliveries", "sentq.scheduled", "sentq.cancelled", "sentq.worker:"),
    *("sentq.workers", "sentq.cache", "sentq.breaker", "sentq.budget", "sentq.hub"),
    *("sentq-sent-", "sentq-key-", "sentq-batch-", "sentq.batches"),
    # The queue of webhooks itself is `sentq.webhooks`.
    *("sentq.webhooks.", "sentq.webhook:"),
)
_RESERVED_ENDING: Final = ".pidbox"

#: The headers that Celery writes into each message.
_CELERYS_HEADERS: Final = frozenset(
    {
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "stamps", "compression"),
    }
)

#: Options that were dropped from signatures. Each is logged once, so that a sender cannot fill the
#: log.
_dropped: set[str] = set()

#: The options that are dropped by name; another one is logged as unknown, since its name is text
#: of the sender.
_KNOWN_DROPPED: Final = frozenset(
    {
        *("retry", "retry_policy", "connection", "producer", "publisher", "router", "exchange"),
        *("exchange_type", "routing_key", "declare", "serializer", "compression", "delivery_mode"),
        *("mandatory", "immediate", "timeout", "confirm_timeout", "expiration", "content_type"),
        *("content_encoding", "result_cls", "route_name", "task_type", "max_retries", "interval"),
        "headers",
    }
)


def check_signatures(message: DeliveredMessage, rules: FollowRules) -> None:
    """Check what a message says shall follow its job, and remove options that are not kept.

    Nothing but the four places remains beside the arguments: Celery would let any other entry, and
    headers of these names, replace what it knows of the job.

    Args:
        message: A message whose body can be decoded. The body and the headers are changed.
        rules: The tasks that may follow, and their queues.

    Raises:
        InvalidHeaders: A signature cannot be published. The message says why, and quotes nothing.
        LinkRefused: The rules do not allow a task that follows. All signatures were checked.
    """
    reader = _SignatureReader(rules)
    payload = message.payload
    for name in _PLACES:
        message.headers.pop(name, None)
    if isinstance(payload, dict):
        # In protocol 1 these are headers too, and what the channel knows stands in the others.
        for name in COUNT_HEADERS:
            payload.pop(name, None)
            if name in message.headers:
                payload[name] = message.headers[name]
        payload.update(reader.read_embed(payload))
    elif isinstance(payload, list) and len(payload) == _BODY_PARTS and payload[-1]:
        payload[-1] = reader.read_embed(payload[-1])
        # Celery decodes the body a second time as it runs the task.
        message.body = dumps(payload)
        message.content_type, message.content_encoding = "application/json", "utf-8"
    if reader.refusal is not None:
        raise reader.refusal


def check_signature(signature: object, rules: FollowRules) -> dict[str, Any]:
    """Check one signature that does not stand in a message, and return it without the options that
    are not kept.

    Args:
        signature: The signature, as a sender wrote it.
        rules: The tasks that may follow, and their queues.

    Raises:
        InvalidHeaders: It cannot be published. The message says why, and quotes nothing.
        LinkRefused: The rules do not allow the task, or one that follows it.
    """
    reader = _SignatureReader(rules)
    checked = reader.read_part(signature, is_list=False)
    if reader.refusal is not None:
        raise reader.refusal
    if not isinstance(checked, dict) or checked["subtask_type"]:
        raise InvalidHeaders("a callback is not the signature of one task")
    return checked


class _SignatureReader:
    """Reads the signatures of one message, and counts them."""

    def __init__(self, rules: FollowRules) -> None:
        self._rules = rules
        self._count = 0
        #: Why the message is refused although it can be read; None if it is not.
        self.refusal: LinkRefused | None = None

    def read_embed(self, embed: object) -> dict[str, Any]:
        """Return the four places of a body, with signatures or None."""
        checked: dict[str, Any] = dict.fromkeys(_PLACES)
        for name in _PLACES:
            if isinstance(embed, dict) and (part := embed.get(name)):
                part = self.read_part(part, is_list=name not in _SINGLE)
                checked[name] = [part] if isinstance(part, dict) and name not in _SINGLE else part
        return checked

    def read_part(self, part: object, *, is_list: bool = True, depth: int = 0) -> object:
        """Read a signature, or a list of them."""
        if isinstance(part, dict):
            return self._signature(part, depth)
        if not is_list or not isinstance(part, list):
            raise InvalidHeaders("what follows the job is not a signature")
        return [self._signature(each, depth) for each in part]

    def _signature(self, signature: object, depth: int) -> dict[str, Any]:
        self._count += 1
        if self._count > _MAX_SIGNATURES:
            raise InvalidHeaders(f"more than {_MAX_SIGNATURES} signatures follow the job")
        if depth > _MAX_DEPTH:
            raise InvalidHeaders("the signatures that follow the job are nested too deeply")
        if not isinstance(signature, dict):
            raise InvalidHeaders("what follows the job is not a signature")
        args, kwargs = signature.get("args") or [], signature.get("kwargs") or {}
        options, kind = signature.get("options") or {}, signature.get("subtask_type")
        if not (
            isinstance(args, list)
            and isinstance(kwargs, dict)
            and isinstance(options, dict)
            and _is_name(signature.get("task"))
        ):
            raise InvalidHeaders("a signature that follows the job has another shape")
        inner = _CANVAS.get(kind, ()) if isinstance(kind, str) else ()
        if not inner and signature["task"].startswith(_CELERYS_OWN):
            raise InvalidHeaders("a signature that follows the job names a task of Celery's own")
        if inner:
            found = {name: self.read_part(kwargs.get(name), depth=depth + 1) for name in inner}
            kwargs = kwargs | found
        options = self._options(options, depth)
        self._apply_rules(None if inner else signature["task"], options.get("queue"))
        checked = {
            "task": signature["task"],
            "args": args,
            "kwargs": kwargs,
            "options": options,
            "subtask_type": kind if inner else None,
            "immutable": bool(signature.get("immutable")),
        }
        if type(chord_size := signature.get("chord_size")) is int:
            checked["chord_size"] = chord_size
        return checked

    def _apply_rules(self, task: str | None, queue: str | None) -> None:
        """Keep the first refusal: of a task, or of the queue that a group, chain or chord sets."""
        try:
            if task is None:
                self._rules.check_queue(queue)
            else:
                self._rules.check_task(task, queue)
        except LinkRefused as error:
            self.refusal = self.refusal or error

    def _options(self, options: dict[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        stamps = _stamps(options)
        for name, value in options.items():
            if value is None or name == "stamped_headers":
                continue
            if name in _SIGNATURES:
                part = self.read_part(value, is_list=name not in _SINGLE, depth=depth + 1)
                kept[name] = part
            elif name in _CHECKS:
                if not _CHECKS[name](value):
                    raise InvalidHeaders(f"the option {name} of a signature is invalid")
                kept[name] = _without_celerys(value) if name == "headers" else value
            elif name not in stamps and not (name == "serializer" and value == "json"):
                _log_dropped(name)
        if stamps:
            kept |= stamps | {"stamped_headers": list(stamps)}
        return kept


def _stamps(options: dict[str, Any]) -> dict[str, Any]:
    """Return the stamps in options: each has a name of the sender's choice, which must be none
    that Celery or kombu read."""
    names = options.get("stamped_headers")
    if not isinstance(names, list):
        return {}
    return {
        name: options[name]
        for name in names
        if _is_name(name) and name in options and name not in _NOT_STAMPS
    }


def _log_dropped(name: str) -> None:
    shown = name if name in _KNOWN_DROPPED else "an unknown one"
    if shown not in _dropped:
        _dropped.add(shown)
        logger.warning(
            "an option of a signature in a message was dropped (%s); this is logged once", shown
        )


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_NAME_CHARS
        and value.isprintable()
        and not value.isspace()
    )


def _is_queue(value: object) -> bool:
    return (
        isinstance(value, str)
        and _is_name(value)
        and not value.startswith(_RESERVED_NAMES)
        and not value.endswith(_RESERVED_ENDING)
    )


def is_task_id(value: object) -> bool:
    """Return whether this can be the id of a task that a worker publishes."""
    return is_job_id(value) and len(value) <= _MAX_NAME_CHARS


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_priority(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_PRIORITY


def _is_duration(value: object) -> bool:
    return (
        type(value) in (int, float) and math.isfinite(value) and 0 <= value <= _MAX_SECONDS  # type: ignore[arg-type,operator]
    )


def _is_date(value: object) -> bool:
    try:
        check_eta(value)
    except InvalidHeaders:
        return False
    return True


def _is_expiry(value: object) -> bool:
    return _is_date(value) if isinstance(value, str) else _is_duration(value)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_name, value))


def _without_celerys(headers: dict[str, Any]) -> dict[str, Any]:
    """Return headers without those that Celery writes: as it publishes a signature, it replaces its
    own by these, and the task would be another one than the rules allow."""
    kept = {name: value for name, value in headers.items() if name not in _CELERYS_HEADERS}
    if len(kept) < len(headers):
        _log_dropped("headers")
    return kept


#: The options that are kept, each with the check of its value.
_CHECKS: Final[dict[str, Callable[[object], bool]]] = {
    "queue": _is_queue,
    "priority": _is_priority,
    "countdown": _is_duration,
    "eta": _is_date,
    "expires": _is_expiry,
    "time_limit": _is_duration,
    "soft_time_limit": _is_duration,
    "headers": _is_headers,
    "ignore_result": _is_bool,
    "add_to_parent": _is_bool,
    "propagate": _is_bool,
    **dict.fromkeys(("task_id", "root_id", "parent_id", "group_id", "reply_to"), is_task_id),
    **dict.fromkeys(("group_index", "retries", "replaced_task_nesting"), _is_count),
    **dict.fromkeys(("shadow", "origin"), _is_name),
}

#: Names that a stamp must not have: Celery or kombu would read it as an option.
_NOT_STAMPS: Final = frozenset(
    {
        *_CHECKS,
        *_SIGNATURES,
        *_KNOWN_DROPPED,
        *("stamped_headers", "stamps", "args", "kwargs", "name", "message", "body", "now"),
        *("timezone", "argsrepr", "kwargsrepr", "callbacks", "errbacks", "create_sent_event"),
        *("event_dispatcher", "properties", "correlation_id", "delivery_info", "delivery_tag"),
        *("body_encoding", "type", "app", "task", "self"),
    }
)
