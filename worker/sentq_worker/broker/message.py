"""A Celery message as Redis holds it: read once, and checked before Celery sees it.

    {"body": "W1siYSB0ZXh0Il0s…", "content-type": "application/json", "content-encoding": "utf-8",
     "headers": {"task": "sentq.score", "id": "…", …},
     "properties": {"body_encoding": "base64", "delivery_info": {…}, …}}

A *plain* job uses nothing of Celery beyond being sent, stored and acknowledged. Such a job needs
neither kombu's Message nor Celery's Request, which take longer to make than everything else
about it. A job that is not certainly plain goes through Celery.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

import orjson
from celery.exceptions import InvalidTaskError
from celery.utils.time import maybe_iso8601
from pydantic import ConfigDict, TypeAdapter

from sentq.contract import TASK_NAME
from sentq_worker.broker.protocols import Headers

__all__ = [
    "Envelope",
    "InvalidHeaders",
    "check_eta",
    "check_headers",
    "due_ms",
    "id_in",
    "is_job_id",
    "is_plain",
    "is_plain_with_eta",
    "plain_arguments",
    "plain_body",
    "read_envelope",
    "retries_in",
]

#: A message as kombu writes it into Redis. `read_envelope` has checked its shape.
Envelope = dict[str, Any]

#: Kombu's mark of a date, a UUID or another type that JSON does not have. Kombu decodes these.
_TYPE_MARK: Final = b"__type__"

_ETA: Final = "eta"
_UNUSUAL_HEADERS: Final = (
    *(_ETA, "expires", "group", "retries"),
    *("stamped_headers", "stamps", "compression"),
)
_UNUSUAL_EMBEDS: Final = ("callbacks", "errbacks", "chain", "chord")
_BODY_PARTS: Final = 3

#: Decodes a body. That of 256 texts takes 10 µs; `binascii`, which reads each character by itself,
#: needs 50.
_BASE64: Final = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))

_NO_TIME_LIMITS: Final = (None, [None, None])

#: An eta in a signature that is further away than this is a mistake, and near the ends of the
#: calendar Celery cannot even compute when it would be.
_MAX_ETA: Final = timedelta(days=366)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

#: The largest number that `attempts` in an outcome can hold for each of its readers.
_MAX_RETRIES: Final = 2**31 - 1


class InvalidHeaders(InvalidTaskError):
    """Celery cannot handle a job's headers. The message says which, and quotes nothing."""


def read_envelope(raw: bytes) -> Envelope | None:
    """Return the message; None if it has not the shape that kombu and Celery expect."""
    try:
        envelope = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # orjson refuses invalid Unicode. Kombu is as lenient as the standard library.
        try:
            envelope = json.loads(raw.decode())
        except (ValueError, RecursionError):
            return None
    if not isinstance(envelope, dict):
        return None
    headers, properties = envelope.get("headers"), envelope.get("properties")
    has_shape = (
        isinstance(envelope.get("body"), str)
        and isinstance(headers, dict)
        and isinstance(properties, dict)
        and isinstance(properties.get("delivery_info"), dict)
        and isinstance(headers.get("task", ""), str)
        and is_job_id(headers.get("id", "none"))
    )
    return envelope if has_shape else None


def is_job_id(job_id: object) -> TypeGuard[str]:
    """Return whether this is a valid id: a key in Redis, and a part of Celery's log lines."""
    return isinstance(job_id, str) and job_id != "" and job_id.isprintable()


def id_in(headers: Headers, name: str) -> str | None:
    """Return the job id in headers under a name; None if it is not a valid id. Flower's list of
    tasks breaks if the id of a parent has another type."""
    job_id = headers.get(name)
    return job_id if is_job_id(job_id) else None


def retries_in(headers: Headers) -> int:
    """Return the number of retries in headers that were checked."""
    retries = headers.get("retries")
    return retries if isinstance(retries, int) else 0


def check_headers(headers: Headers) -> None:
    """Check the headers that Celery does not check as it makes and runs a request.

    Args:
        headers: The headers of a message, or the body of a message of Celery's first protocol,
            which has them there.

    Raises:
        InvalidHeaders: The message says what is wrong.
    """
    if "task" in headers and not is_job_id(headers.get("id")):
        raise InvalidHeaders("the id is missing or invalid")
    retries = headers.get("retries")
    if retries is not None and (not isinstance(retries, int) or not 0 <= retries <= _MAX_RETRIES):
        raise InvalidHeaders("the number of retries is invalid")
    due_ms(headers.get(_ETA))


def due_ms(eta: object) -> int | None:
    """Return when a job is due, in Unix milliseconds, rounded up; None if it has no eta.

    Raises:
        InvalidHeaders: The eta is not a date, or before 1970.
    """
    try:
        date = maybe_iso8601(eta)
    except (TypeError, ValueError, AttributeError):
        raise InvalidHeaders("the eta is not a date") from None
    if date is None:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    if date < _EPOCH:
        raise InvalidHeaders("the eta is too far away")
    rounded_down: int = (_EPOCH - date) // _MILLISECOND
    return -rounded_down


def check_eta(eta: object) -> None:
    """Check the eta of a job that a signature sends, if there is one.

    Raises:
        InvalidHeaders: It is not a date, or too far away.
    """
    found_ms = due_ms(eta)
    if found_ms is not None and found_ms > time.time() * 1000 + _MAX_ETA / _MILLISECOND:
        raise InvalidHeaders("the eta is too far away")


def is_plain(headers: Headers) -> bool:
    """Return whether these are the headers of a plain job of `sentq.score`."""
    return (
        headers.get("task") == TASK_NAME
        and bool(headers.get("id"))
        and not any(map(headers.get, _UNUSUAL_HEADERS))
        and headers.get("timelimit") in _NO_TIME_LIMITS
    )


def is_plain_with_eta(headers: Headers) -> bool:
    """Return whether these are the headers of a job that is plain but for its eta."""
    return bool(headers.get(_ETA)) and is_plain({**headers, _ETA: None})


def plain_body(envelope: Envelope) -> bytes | None:
    """Return the decoded body of a message with plain JSON in base64, as Celery sends it; None if
    it is encoded in another way."""
    if (
        envelope.get("content-type") != "application/json"
        or envelope.get("content-encoding") != "utf-8"
        or envelope["properties"].get("body_encoding") != "base64"
    ):
        return None
    try:
        return _BASE64.validate_strings(envelope["body"])
    except ValueError:  # Also of text that is not Unicode.
        return None


def plain_arguments(body: bytes) -> tuple[list[object], dict[str, object]] | None:
    """Return args and kwargs from a JSON body `[args, kwargs, embed]`; None if the body is not of
    this shape, or embeds callbacks."""
    if _TYPE_MARK in body:
        return None
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(payload, list) or len(payload) != _BODY_PARTS:
        return None
    args, kwargs, embed = payload
    is_plain_shape = (
        isinstance(args, list)
        and isinstance(kwargs, dict)
        and isinstance(embed, dict)
        and not any(map(embed.get, _UNUSUAL_EMBEDS))
    )
    return (args, kwargs) if is_plain_shape else None
