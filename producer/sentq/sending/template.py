"""Messages of jobs, made from a template of Celery and kombu.

Celery takes a third of a millisecond to make and publish one message, of which only the id and the
texts differ. So it makes one message as a template, with placeholders for what differs. A test
compares the filled template with what the installed Celery sends.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import orjson

from sentq.contract import BATCH_HEADER, SEALED_FIELD, TASK_NAME, redacted
from sentq.wire.sealing import Keyring, Purpose

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["MessageTemplate"]

#: The placeholders. Nothing else in a message looks like them.
_ID: Final = "@sentq:id@"
#: The delivery tag: a stock worker records messages under it. The id of the job is used.
_TAG: Final = "@sentq:tag@"
_COUNT: Final = "@sentq:count@"
_BODY: Final = "@sentq:body@"
_TEXTS: Final = "@sentq:texts@"
#: The place of the job in its batch; messages of other jobs have none.
_PLACE: Final = "@sentq:place@"
#: Additional headers, before Celery's.
_EXTRA: Final = "@sentq:extra@"
_NO_EXTRA: Final = f'"{_EXTRA}": null, '
#: What the job asks for, after the other arguments with names.
_OPTIONS: Final = "@sentq:options@"
#: Celery's header of the time at which a job is due.
_NO_ETA: Final = '"eta": null, '
_PLACEHOLDERS: Final = re.compile("(@sentq:[a-z]+@)")


class MessageTemplate:
    """Makes messages of jobs for one queue, in the form that kombu stores in Redis.

    Args:
        app: The app whose settings define the form of messages.
        queue: The queue of the messages.
        keyring: Encrypts the texts; None leaves them as they are.
    """

    def __init__(self, app: Celery, queue: str, keyring: Keyring | None = None) -> None:
        texts: object = [_TEXTS] if keyring is None else _TEXTS
        args, kwargs = ([texts], {}) if keyring is None else ([], {SEALED_FIELD: texts})
        envelope, body = _made_by_celery(app, queue, args, {**kwargs, _OPTIONS: None})
        before, self._rest = body.split(json.dumps(texts), maxsplit=1)
        self._before_texts, self._after_texts = before.encode(), b""
        self._keyring = keyring
        self._end_body({})
        self._text = json.dumps(envelope)
        self._cut(self._text.replace(_NO_EXTRA, ""))

    def with_options(self, options: Mapping[str, object]) -> MessageTemplate:
        """Return a template of messages of jobs that ask for this, beside the texts."""
        if not options:
            return self
        template = copy(self)
        template._end_body(options)  # noqa: SLF001 - of the same class
        return template

    def _end_body(self, options: Mapping[str, object]) -> None:
        """Set what follows the texts in a body: the options, and what Celery embeds."""
        comma = "" if self._keyring is None else ", "
        given = f"{comma}{json.dumps(dict(options))[1:-1]}" if options else ""
        self._after_texts = self._rest.replace(f'{comma}"{_OPTIONS}": null', given, 1).encode()

    def with_headers(
        self, headers: Mapping[str, int | bool | str], *, batch_id: str | None = None
    ) -> MessageTemplate:
        """Return a template of messages with additional headers, `eta` among them; with `batch_id`,
        of jobs of that batch."""
        if not headers and batch_id is None:
            return self
        template = copy(self)
        place = {} if batch_id is None else {BATCH_HEADER: f"{batch_id}:{_PLACE}"}
        # No placeholder can stand in a header: what a stranger wrote into `tracestate` is sent on.
        escaped = [json.dumps(headers).replace("@", r"\u0040"), json.dumps(place)]
        extra = "".join(f"{part[1:-1]}, " for part in escaped if part != "{}")
        text = self._text.replace(_NO_ETA, "", 1) if "eta" in headers else self._text
        template._cut(text.replace(_NO_EXTRA, extra))  # noqa: SLF001 - of the same class
        return template

    def _cut(self, text: str) -> None:
        #: Fixed parts and placeholders in turn.
        self._parts = _PLACEHOLDERS.split(text)
        self._ids = [i for i, part in enumerate(self._parts) if part in (_ID, _TAG)]
        self._places = [i for i, part in enumerate(self._parts) if part == _PLACE]
        (self._count,) = (i for i, part in enumerate(self._parts) if part == _COUNT)
        (self._body,) = (i for i, part in enumerate(self._parts) if part == _BODY)

    def fill(self, job_id: str, texts: Sequence[str], place: int = 0) -> bytes:
        """Return the message of a job. The texts must be valid Unicode.

        Args:
            job_id: The id of the job.
            texts: Its texts.
            place: Its place in the batch of the template, if that has one.
        """
        # JSON in UTF-8 is smaller than that of Celery, which escapes it, and means the same.
        content: object = texts
        if self._keyring is not None:
            content = self._keyring.seal(texts, Purpose.TEXTS, job_id)
        body = self._before_texts + orjson.dumps(content) + self._after_texts
        parts = self._parts.copy()
        for at in self._ids:
            parts[at] = job_id
        for at in self._places:
            parts[at] = str(place)
        parts[self._count] = redacted(len(texts))
        parts[self._body] = base64.b64encode(body).decode("ascii")
        return "".join(parts).encode()


def _made_by_celery(
    app: Celery, queue: str, args: list[object], kwargs: Mapping[str, object]
) -> tuple[dict[str, Any], str]:
    """Return a message in kombu's envelope, with placeholders, and its decoded body."""
    from sentq.connection.capture import captured_message  # It needs kombu.

    message = app.amqp.create_task_message(
        _ID, TASK_NAME, args=args, kwargs=kwargs, argsrepr=_COUNT, kwargsrepr="{}"
    )
    envelope = captured_message(app, message, queue)  # Without signals: it is not a job.
    body = base64.b64decode(envelope["body"]).decode()
    envelope["body"] = _BODY
    envelope["headers"] = {_EXTRA: None, **envelope["headers"]}
    envelope["properties"]["delivery_tag"] = _TAG
    return envelope, body
