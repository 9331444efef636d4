"""Steps that read, retry and drop dead letters, in the broker's Redis."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import redis
from pydantic import ValidationError

from sentq.connection.broker import BrokerKeys
from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    SEALED_FIELD,
)
from sentq.errors import Undecryptable
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.functions import FUNCTIONS
from sentq.wire.sealing import Keyring, Purpose
from sentq.wire.steps import ScriptCall, Steps

__all__ = [
    "ALL",
    "DeadLetterPages",
    "RetryResult",
    "Selection",
    "drop_steps",
    "get_steps",
    "retry_steps",
    "texts_of",
]

logger = logging.getLogger(__name__)

#: Dead letters of one round trip. Each may be as large as the largest message.
_PAGE_SIZE: Final = 50

_RETRY: Final = FUNCTIONS["retry_dead_letter"]

_HEADERS_OF_DELIVERY: Final = (
    *(DELIVERIES_HEADER, FIRST_ERROR_HEADER, LAST_ERROR_HEADER, ALONE_HEADER),
    "redelivered",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects dead letters by code and age.

    Attributes:
        codes: Select only these codes; empty selects all.
        older_than_s: Select only dead letters that are older, in seconds.
        newer_than_s: Select only dead letters that are newer, in seconds.
    """

    codes: Sequence[str] = ()
    older_than_s: float | None = None
    newer_than_s: float | None = None


ALL: Final = Selection()


class RetryResult(StrEnum):
    """What `DeadLetters.retry` did."""

    #: The message is in its queue again, the job is queued, and the dead letter was removed.
    RETRIED = "retried"
    #: The job has an outcome or was cancelled. The dead letter was removed, and nothing else done.
    ENDED = "ended"
    #: There is no such dead letter (any more): another operator was faster, or it was too old.
    NOT_FOUND = "not_found"
    #: Only parts of the message were kept, because it was too large. The dead letter stays.
    TRUNCATED = "truncated"


class DeadLetterPages:
    """The present dead letters, the oldest first, as pages of one round trip.

    Args:
        selection: Which dead letters.
        ttl_s: Older ones are removed before the first page, in seconds.
    """

    def __init__(self, selection: Selection, *, ttl_s: int) -> None:
        self._selection = selection
        self._ttl_s = ttl_s
        self._range: tuple[str, str] | None = None
        #: Whether there is no further page.
        self.are_read = False

    def next_steps(self, broker: BrokerKeys) -> Steps[list[DeadLetter]]:
        """Return the selected dead letters of the next page."""
        if self._range is None:
            self._range = yield from self._trim_steps(broker)
        first, last = self._range
        entries = yield from _range_steps(broker, first, last)
        if len(entries) < _PAGE_SIZE:
            self.are_read = True
        else:
            self._range = "(" + entries[-1][0].decode(), last
        codes = self._selection.codes
        return [each for each in _readable(entries) if not codes or each.code in codes]

    def _trim_steps(self, broker: BrokerKeys) -> Steps[tuple[str, str]]:
        """Remove dead letters that are too old; return the first and the last id to read."""
        seconds, microseconds = yield ("TIME",)
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        oldest_ms = max(0, now_ms - self._ttl_s * 1000)
        yield ("XTRIM", broker.key(DEAD_LETTERS_KEY), "MINID", "=", oldest_ms)
        first, newer_than_s = "-", self._selection.newer_than_s
        if newer_than_s is not None:
            first = str(max(0, now_ms - round(newer_than_s * 1000)))
        older_than_s = self._selection.older_than_s or 0
        return first, str(max(0, now_ms - round(older_than_s * 1000)))


def get_steps(broker: BrokerKeys, dead_letter_id: str) -> Steps[DeadLetter | None]:
    """Return the dead letter of an id, or None."""
    try:
        entries = yield from _range_steps(broker, dead_letter_id, dead_letter_id)
    except redis.ResponseError:
        return None  # The id is malformed.
    return next(_readable(entries), None)


def retry_steps(
    broker: BrokerKeys,
    *,
    dead_letter: DeadLetter,
    document: bytes | None,
    default_queue: str,
    ttl_s: int,
) -> Steps[RetryResult]:
    """Send the message of a dead letter again, which is not truncated.

    Args:
        broker: The keys of the broker.
        dead_letter: The dead letter.
        document: The key of the job's document if the script shall write it; else None.
        default_queue: The queue of a dead letter that names none.
        ttl_s: How long the document is kept, in seconds.
    """
    message, priority = _undelivered(dead_letter.message)
    queue = broker.list_of(dead_letter.queue or default_queue, priority)
    keys: list[str | bytes] = [broker.key(DEAD_LETTERS_KEY), queue]
    keys += [] if document is None else [document]
    arguments = [dead_letter.id, message, QUEUED_DOCUMENT, ttl_s]
    result: bytes = yield ScriptCall(_RETRY, keys, arguments)
    return RetryResult(result.decode())


def drop_steps(broker: BrokerKeys, dead_letter_ids: Sequence[str]) -> Steps[int]:
    """Delete dead letters, and return how many there were."""
    return int((yield ("XDEL", broker.key(DEAD_LETTERS_KEY), *dead_letter_ids)))


def _range_steps(broker: BrokerKeys, first: str, last: str) -> Steps[list[Any]]:
    key = broker.key(DEAD_LETTERS_KEY)
    entries: list[Any] = yield ("XRANGE", key, first, last, "COUNT", _PAGE_SIZE)
    return entries


def _readable(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[DeadLetter]:
    for entry_id, fields in entries:
        try:
            yield parse_dead_letter(entry_id, fields)
        except ValidationError:
            logger.warning("dead letter %s cannot be read; drop it by its id", entry_id.decode())


def texts_of(dead_letter: DeadLetter, keyring: Keyring | None = None) -> list[str] | None:
    """Return the texts in the message of a dead letter, as `DeadLetters.texts` does.

    Raises:
        Undecryptable: They are encrypted, and cannot be decrypted with these keys.
    """
    try:
        message = json.loads(dead_letter.message)
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        if SEALED_FIELD in kwargs:
            if keyring is None:
                raise Undecryptable("the texts are encrypted, and there are no encryption_keys")
            job_id = str(message["headers"]["id"])
            texts = keyring.open(kwargs[SEALED_FIELD], Purpose.TEXTS, job_id)
        else:
            texts = args[0] if args else kwargs["texts"]
        return list(map(str, texts if isinstance(texts, list) else [texts]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _undelivered(raw: bytes) -> tuple[bytes, int]:
    """Return the message as its sender wrote it, and its priority."""
    try:
        # Not orjson: workers accept values, such as lone surrogates, that orjson cannot write.
        message: dict[str, Any] = json.loads(raw)
        for name in _HEADERS_OF_DELIVERY:
            message["headers"].pop(name, None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        priority = message["properties"].get("priority") or 0
        return json.dumps(message).encode(), int(priority)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return raw, 0
