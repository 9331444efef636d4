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
from typing import Any, Final, NamedTuple

import orjson

from sentq.contract import TASK_NAME

__all__ = ["Arguments", "is_plain", "plain_arguments", "read_envelope"]

#: Kombu's mark of a date, a UUID or another type that JSON has not: it decodes these itself.
_TYPE_MARK: Final = b"__type__"

_UNUSUAL_HEADERS: Final = (
    *("eta", "expires", "group", "retries"),
    *("stamped_headers", "stamps", "compression"),
)
_UNUSUAL_EMBEDS: Final = ("callbacks", "errbacks", "chain", "chord")
_BODY_PARTS: Final = 3
_NO_TIME_LIMITS: Final = (None, [None, None])


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
            envelope = json.loads(raw)
            envelope["headers"].get("id", "").encode()  # An id is a key in Redis.
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
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
        and isinstance(headers.get("id", "none"), str)
        and headers.get("id") != ""
    )
    return envelope if has_shape else None


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
