"""A Celery message as it lies in Redis: read once, and looked at before anybody counts on it.

    {"body": "W1siYSB0ZXh0Il0s…", "content-type": "application/json", "content-encoding": "utf-8",
     "headers": {"task": "sentq.score", "id": "…", …},
     "properties": {"body_encoding": "base64", "delivery_info": {…}, …}}

A *plain* job uses nothing of Celery beyond being sent, stored and acknowledged. Such a job needs
neither kombu's Message nor Celery's Request, which take longer to make than everything else
about it. Whatever is not certainly plain is Celery's business.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeGuard

import orjson
from celery.exceptions import InvalidTaskError
from celery.utils.time import maybe_iso8601

from sentq.contract import TASK_NAME

__all__ = [
    "Arguments",
    "InvalidHeaders",
    "check_headers",
    "id_in",
    "is_job_id",
    "is_plain",
    "plain_arguments",
    "plain_body",
    "read_envelope",
]

#: Kombu's mark of a date, a UUID or another type that JSON has not: it decodes these itself.
_TYPE_MARK: Final = b"__type__"

_UNUSUAL_HEADERS: Final = (
    *("eta", "expires", "group", "retries"),
    *("stamped_headers", "stamps", "compression"),
)
_UNUSUAL_EMBEDS: Final = ("callbacks", "errbacks", "chain", "chord")
_BODY_PARTS: Final = 3
_NO_TIME_LIMITS: Final = (None, [None, None])

#: A job is held by a worker until its eta. One that is further away than this is a mistake, and
#: near the ends of the calendar Celery cannot even compute when it would be.
_MAX_ETA: Final = timedelta(days=366)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)

#: What `attempts` in an outcome can hold wherever it is read.
_MAX_RETRIES: Final = 2**31 - 1


class InvalidHeaders(InvalidTaskError):
    """Celery would trip over a job's headers. The message says which, and quotes nothing."""


class Arguments(NamedTuple):
    """What a plain job was called with."""

    args: list[Any]
    kwargs: dict[str, Any]


def read_envelope(raw: bytes) -> dict[str, Any] | None:
    """The message, if it has the shape that kombu and Celery count on."""
    try:
        envelope = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # Strict about what Unicode is; the standard library's, as lenient as kombu's, decides.
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
    """Whether this may be a job's id: a key in Redis, and a part of Celery's log lines."""
    return isinstance(job_id, str) and job_id != "" and job_id.isprintable()


def id_in(headers: Mapping[str, Any], name: str) -> str | None:
    """The job's id that stands in headers under a name; None where that is no id. Flower's list of
    tasks breaks over a relative's id of another type."""
    job_id = headers.get(name)
    return job_id if is_job_id(job_id) else None


def check_headers(headers: Mapping[str, Any]) -> None:
    """Refuse what Celery takes on trust as it makes and runs a request.

    Args:
        headers: A message's, or the body of one of Celery's first protocol, which says it there.

    Raises:
        WrongHeaders: The message says what is wrong.
    """
    if "task" in headers and not is_job_id(headers.get("id")):
        raise InvalidHeaders("its id is none")
    retries = headers.get("retries")
    if retries is not None and (not isinstance(retries, int) or not 0 <= retries <= _MAX_RETRIES):
        raise InvalidHeaders("its count of retries is none")
    try:
        eta = maybe_iso8601(headers.get("eta"))
    except (TypeError, ValueError, AttributeError):
        raise InvalidHeaders("its eta is no date") from None
    if eta is not None:
        eta = eta if eta.tzinfo else eta.replace(tzinfo=UTC)
        if eta < _EPOCH or eta > datetime.now(UTC) + _MAX_ETA:
            raise InvalidHeaders("its eta is out of reach")


def is_plain(headers: Mapping[str, Any]) -> bool:
    """Whether these are the headers of a plain job for us."""
    return (
        headers.get("task") == TASK_NAME
        and bool(headers.get("id"))
        and not any(map(headers.get, _UNUSUAL_HEADERS))
        and headers.get("timelimit") in _NO_TIME_LIMITS
    )


def plain_body(envelope: Mapping[str, Any]) -> bytes | None:
    """The decoded body of a message with plain JSON in base64, as Celery sends it; None where
    it is something else."""
    if (
        envelope.get("content-type") != "application/json"
        or envelope.get("content-encoding") != "utf-8"
        or envelope["properties"].get("body_encoding") != "base64"
    ):
        return None
    try:
        return binascii.a2b_base64(envelope["body"])
    except ValueError:
        return None


def plain_arguments(body: bytes) -> Arguments | None:
    """The arguments in a JSON body `[args, kwargs, embed]`; None unless that is all there is."""
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
    return Arguments(args, kwargs) if is_plain_shape else None
