"""The message of a job, filled into a form that Celery and kombu made.

Celery takes a third of a millisecond to make and publish one message; all but the id and the
texts is the same in each. So it makes one, for nobody, and the places of what differs are kept.
A test holds that what is filled in is what the installed Celery sends.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import orjson
from kombu import Connection
from kombu.transport import virtual

from sentq.contract import TASK_NAME, redacted

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["MessageTemplate"]

#: What stands in the form where something differs. Nothing else in a message looks like it.
_ID: Final = "@sentq:id@"
#: Each message's own: a stock worker notes messages under it. The id serves.
_TAG: Final = "@sentq:tag@"
_COUNT: Final = "@sentq:count@"
_BODY: Final = "@sentq:body@"
_TEXTS: Final = "@sentq:texts@"
#: Headers of one sender's own, before the others.
_EXTRA: Final = "@sentq:extra@"
_NO_EXTRA: Final = f'"{_EXTRA}": null, '
_PLACES: Final = re.compile("(@sentq:[a-z]+@)")


class MessageTemplate:
    """Messages of plain jobs for one queue, as they lie in Redis.

    Args:
        app: Whose settings say what a message looks like.
        queue: Where the messages will be put.
    """

    def __init__(self, app: Celery, queue: str) -> None:
        envelope, body = _made_by_celery(app, queue)
        self._before_texts, self._after_texts = body.encode().split(
            json.dumps([_TEXTS]).encode(), maxsplit=1
        )
        self._form = json.dumps(envelope)
        self._cut(self._form.replace(_NO_EXTRA, ""))

    def with_headers(self, headers: Mapping[str, int | bool]) -> MessageTemplate:
        """The form of messages that have these headers too."""
        if not headers:
            return self
        template = copy(self)
        extra = json.dumps(dict(headers))[1:-1] + ", "
        template._cut(self._form.replace(_NO_EXTRA, extra))  # noqa: SLF001 - one of its own kind
        return template

    def _cut(self, form: str) -> None:
        #: Fixed parts and places by turns.
        self._parts = _PLACES.split(form)
        self._ids = [i for i, part in enumerate(self._parts) if part in (_ID, _TAG)]
        (self._count,) = (i for i, part in enumerate(self._parts) if part == _COUNT)
        (self._body,) = (i for i, part in enumerate(self._parts) if part == _BODY)

    def fill(self, job_id: str, texts: Sequence[str]) -> bytes:
        """The message of this job. The texts must be valid Unicode."""
        # JSON in UTF-8 is smaller than Celery's, which escapes, and means the same.
        body = self._before_texts + orjson.dumps(texts) + self._after_texts
        parts = self._parts.copy()
        for place in self._ids:
            parts[place] = job_id
        parts[self._count] = redacted(len(texts))
        parts[self._body] = base64.b64encode(body).decode("ascii")
        return "".join(parts).encode()


class _Capture(virtual.Channel):
    """Keeps the one message that is published, instead of putting it anywhere."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # noqa: ARG002 - kombu's
        self.connection.captured = message  # the transport's; kombu calls it a connection

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """There is no queue."""


class _CaptureTransport(virtual.Transport):
    Channel = _Capture
    captured: Any = None


def _made_by_celery(app: Celery, queue: str) -> tuple[dict[str, Any], str]:
    """A message in kombu's envelope, with places for what differs, and its decoded body."""
    message = app.amqp.create_task_message(
        _ID, TASK_NAME, args=[[_TEXTS]], kwargs={}, argsrepr=_COUNT, kwargsrepr="{}"
    )
    with Connection(transport=_CaptureTransport) as connection:
        # By the producer alone: signals and events belong to jobs, and this is none.
        app.amqp.Producer(connection).publish(
            message.body,
            exchange="",
            routing_key=queue,
            serializer=app.conf.task_serializer,
            headers=message.headers,
            **message.properties,
        )
        envelope: dict[str, Any] = connection.transport.captured
    body = base64.b64decode(envelope["body"]).decode()
    envelope["body"] = _BODY
    envelope["headers"] = {_EXTRA: None, **envelope["headers"]}
    envelope["properties"]["delivery_tag"] = _TAG
    return envelope, body
