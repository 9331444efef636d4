"""The messages of callbacks: signatures that senders wrote, checked, and written as Celery does.

    signature ──▶ check_signature ──▶ template ──▶ fill in ids and the first argument ──▶ message

Celery takes a third of a millisecond to make a message, longer than a worker has for a job. So one
message of each signature is made as a template, and what was read and checked is kept for a while.
"""

from __future__ import annotations

import json
import re
import uuid
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from kombu.utils.functional import maybe_list
from kombu.utils.json import dumps, loads

from sentq.connection.broker import BrokerKeys
from sentq.connection.capture import captured_message
from sentq.errors import LinkRefused
from sentq_worker.broker.callbacks import CallbackMessage
from sentq_worker.broker.message import InvalidHeaders
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.celery_worker.canvas.signatures import check_signature, is_task_id

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Callback", "CallbackMessages"]

#: How many callbacks are kept, up to which size: as many as jobs in flight, in a few MB.
_KEPT_CALLBACKS: Final = 1024
_MAX_KEPT_CHARS: Final = 4096

#: How many templates are kept. Their signatures have at most 64 KiB, and most are small.
_KEPT_TEMPLATES: Final = 64

#: The options of a signature that become arguments of its message.
_ARGUMENTS: Final = (
    *("countdown", "eta", "expires", "time_limit", "soft_time_limit", "chain", "chord"),
    *("shadow", "reply_to", "ignore_result"),
)

#: Those that have another name there, and are lists.
_LISTS: Final = {"link": "callbacks", "link_error": "errbacks"}


class CallbackMessages:
    """Reads callbacks, and checks them. Any thread may call it.

    Args:
        app: Defines the form of messages, and the queue of a task whose signature names none.
        rules: The tasks that may follow, and their queues.
        on_queue: Called with the names of task and queue when a template is made.
    """

    def __init__(
        self, app: Celery, rules: FollowRules, on_queue: Callable[[str, str], object]
    ) -> None:
        self._app = app
        self._rules = rules
        self._on_queue = on_queue
        self._kept = lru_cache(maxsize=_KEPT_CALLBACKS)(self._read)
        self._template = lru_cache(maxsize=_KEPT_TEMPLATES)(self._make_template)

    def read(self, text: object) -> Callback:
        """Read a callback, as a sender wrote it.

        Raises:
            InvalidHeaders: It cannot be published. The message says why, and quotes nothing.
            LinkRefused: The rules do not allow the task, or one that follows it.
        """
        if not isinstance(text, (str, bytes)):
            raise InvalidHeaders("a callback is not a signature in JSON")
        return self._kept(text) if len(text) <= _MAX_KEPT_CHARS else self._read(text)

    def _read(self, text: str | bytes) -> Callback:
        try:
            # Not orjson, which makes large whole numbers floats.
            parts = json.loads(text)
            args, kwargs = parts.pop("args", None) or [], parts.pop("kwargs", None) or {}
            options = parts.get("options") or {}
            task_id = options.pop("task_id", None)
            wants_outcome = parts.pop("argument", None) == "outcome"
            signature, written = json.dumps(parts), (json.dumps(args), json.dumps(kwargs))
        except (TypeError, ValueError, AttributeError, RecursionError):
            raise InvalidHeaders("a callback is not a signature in JSON") from None
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise InvalidHeaders("the arguments of a callback have another shape")
        if task_id is not None and not is_task_id(task_id):
            raise InvalidHeaders("the id of a callback is invalid")
        # A time that counts from now is another one in each message.
        is_relative = "countdown" in options or isinstance(options.get("expires"), (int, float))
        make = self._make_template if is_relative else self._template
        template = make(signature)
        return Callback(
            (lambda: make(signature)) if is_relative else (lambda: template),
            *written,
            task_id=task_id,
            is_immutable=bool(parts.get("immutable")),
            wants_outcome=wants_outcome,
        )

    def _make_template(self, signature: str) -> _Template:
        try:
            # Kombu's loads: dates in options are written as it writes them.
            checked = check_signature(loads(signature), self._rules)
            task, options = checked["task"], checked["options"]
            queue = options.get("queue") or self._app.amqp.router.route({}, task)["queue"].name
            template = _template(self._app, task, queue, options)
        except (InvalidHeaders, LinkRefused):
            raise
        except Exception as error:  # noqa: BLE001 - a sender wrote it, and other jobs go on
            raise InvalidHeaders(f"{type(error).__name__} while a callback was made") from None
        self._on_queue(task, queue)
        return template


class _Template(NamedTuple):
    """The message of a signature.

    Attributes:
        queue_list: The list of its queue.
        envelope: The message, with names of what differs, for the operator %.
        embed: The last part of its body.
    """

    queue_list: str
    envelope: str
    embed: str


class Callback:
    """A callback that was read and checked.

    Args:
        template: Returns the template of its signature.
        args, kwargs: Its own arguments as JSON.
        task_id: Its id; None if the sender gave it none.
        is_immutable: Whether it gets its own arguments only.
        wants_outcome: Whether it gets how the job ended, and not only the id of the job.
    """

    def __init__(
        self,
        template: Callable[[], _Template],
        args: str,
        kwargs: str,
        *,
        task_id: str | None,
        is_immutable: bool,
        wants_outcome: bool,
    ) -> None:
        self._template = template
        self._task_id = task_id
        self._is_immutable = is_immutable
        self.wants_outcome = wants_outcome
        own, first = args[1:-1], "<outcome>" if wants_outcome else "<id>"
        self._after_first = f"{', ' if own and not is_immutable else ''}{own}], {kwargs}, "
        # Arguments may be private, and monitors show these.
        shown = ", ".join([*([] if is_immutable else [first]), *(["…"] if own else [])])
        self._shown = {
            "args": _json(f"({shown})"),
            "kwargs": '"{}"' if kwargs == "{}" else '"{…}"',
        }

    def message(self, first: object, *, follows: str, is_child: bool = True) -> CallbackMessage:
        """Return its message.

        Args:
            first: Its first argument, unless it is immutable.
            follows: The id of the job, or the batch, that it follows. Its own id is made from that,
                the same each time.
            is_child: Whether monitors are shown what it follows as its parent.
        """
        template = self._template()
        task_id = _json(self._task_id or f"{follows}-then")
        parent_id = _json(follows) if is_child else "null"
        argument = "" if self._is_immutable else _json(first)
        body = f"[[{argument}{self._after_first}{template.embed}]"
        envelope = template.envelope % {
            "id": task_id,
            "root": parent_id if is_child else task_id,
            "parent": parent_id,
            "body": f'"{b2a_base64(body.encode(), newline=False).decode("ascii")}"',
            **self._shown,
        }
        return CallbackMessage(template.queue_list, envelope.encode())


def _template(app: Celery, task: str, queue: str, options: dict[str, Any]) -> _Template:
    """Have Celery and kombu make a message, with placeholders for what differs.

    Args:
        app: Defines the form of messages.
        task: The name of the task.
        queue: Its queue.
        options: The options of the signature, which were checked.
    """
    # A sender cannot write a placeholder: it is another one each time.
    mark = f"@{uuid.uuid4().hex}:"
    message = app.amqp.create_task_message(
        f"{mark}id",
        task,
        args=[],
        kwargs={},
        root_id=f"{mark}root",
        parent_id=f"{mark}parent",
        argsrepr=f"{mark}args",
        kwargsrepr=f"{mark}kwargs",
        **{name: options[name] for name in _ARGUMENTS if name in options},
        **{name: maybe_list(options.get(key)) for key, name in _LISTS.items()},
    )
    message.headers.update(options.get("headers") or {})
    priority = options.get("priority") or 0
    envelope = captured_message(app, message, queue, priority=priority)
    (*_, embed) = json.loads(a2b_base64(envelope["body"]))
    envelope["body"] = f"{mark}body"
    envelope["properties"]["delivery_tag"] = f"{mark}id"
    text = re.sub(f'"{mark}([a-z]+)"', r"%(\1)s", dumps(envelope).replace("%", "%%"))
    return _Template(BrokerKeys().list_of(queue, priority), text, dumps(embed))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
