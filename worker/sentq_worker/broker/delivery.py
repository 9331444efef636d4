"""Lost deliveries: counted in Redis, outside of the message, and what the count means.

    lost once     the message is requeued
    lost twice    the same; its job is a suspect, so the third delivery runs it alone
    lost alone    the message becomes a dead letter

A delivery is lost if its worker was lost. A message that a worker requeues as it ends is not
counted. Before a suspect runs alone, its entry in Redis is marked: jobs that were only in flight
beside it are never blamed.

    sentq.deliveries:<job id>   string   {"count": 2, "first_error": "…", "last_error": "…"}

Senders write messages, so a count in a message counts for nothing. It is written in the step that
requeues the message, and read only for messages that say that they were delivered before. In this
process it stands in the headers, from which what the sender has written there is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import redis

from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
)
from sentq_worker.broker.message import Envelope, id_in
from sentq_worker.broker.protocols import Headers

__all__ = [
    "COUNT_HEADERS",
    "COUNT_TTL_S",
    "SUSPECT_AFTER",
    "UnackedEntry",
    "count_key",
    "lost_deliveries",
    "read_counts",
    "set_count",
]

_COUNT_KEY: Final = "sentq.deliveries:"

#: How long a count is kept. A message that is requeued comes first in its queue.
COUNT_TTL_S: Final = 3 * 24 * 60 * 60

#: Where a count stands in headers.
COUNT_HEADERS: Final = (DELIVERIES_HEADER, FIRST_ERROR_HEADER, LAST_ERROR_HEADER)

#: A job whose message was lost so many times may be the reason: it runs alone.
SUSPECT_AFTER: Final = 2

#: A larger count is not one that workers have written.
_MAX_COUNT: Final = 1000

_MAX_ERROR_CHARS: Final = 200


def lost_deliveries(headers: Headers) -> int:
    """Return how many deliveries of a message were lost."""
    count = headers.get(DELIVERIES_HEADER)
    return min(count, _MAX_COUNT) if type(count) is int and count > 0 else 0


@dataclass(slots=True)
class UnackedEntry:
    """A message as a worker recorded it in `unacked`, under a tag.

    Attributes:
        tag: The tag.
        message: The message.
        queue: The queue that it was taken from.
    """

    tag: str
    message: Envelope = field(repr=False)
    queue: str

    @classmethod
    def read(cls, tag: str, raw: bytes | None) -> Self | None:
        """Read an entry of `unacked`: a message, its exchange and its queue. Return None if it
        has another shape."""
        try:
            message, _, queue = json.loads(raw or b"")
            has_shape = (
                isinstance(message["headers"], dict)
                and isinstance(message["properties"]["delivery_info"], dict)
                and isinstance(queue, str)
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if not has_shape:
            return None
        set_count(message["headers"], None)
        return cls(tag, message, queue)

    #: Whether this delivery was counted as lost.
    is_counted: bool = field(default=False, init=False)

    @property
    def headers(self) -> dict[str, object]:
        """The message's headers, to be read and changed."""
        headers: dict[str, object] = self.message["headers"]
        return headers

    @property
    def job_id(self) -> str | None:
        """The id of its job, if it has one."""
        return job_id(self.headers)

    @property
    def alone(self) -> dict[str, object] | None:
        """The mark of the worker that runs it alone; None if there is no mark, or one of an
        earlier delivery."""
        mark = self.headers.get(ALONE_HEADER)
        return mark if isinstance(mark, dict) and mark.get("tag") == self.tag else None

    @property
    def first_error(self) -> str | None:
        """Why its first delivery was lost."""
        return _short(self.headers.get(FIRST_ERROR_HEADER))

    def mark_alone(self, worker: str, at_s: float) -> bytes:
        """Mark that this worker runs it alone; return the entry with the mark."""
        self.headers[ALONE_HEADER] = {"worker": worker, "at_s": at_s, "tag": self.tag}
        return self._entry()

    def unmark(self) -> bytes:
        """Remove the mark; return the entry without it."""
        self.headers.pop(ALONE_HEADER, None)
        return self._entry()

    def count_lost_delivery(self, error: str) -> None:
        """Count this delivery as lost, and record why it was."""
        headers, self.is_counted = self.headers, True
        headers[DELIVERIES_HEADER] = lost_deliveries(headers) + 1
        headers[FIRST_ERROR_HEADER] = self.first_error or error
        headers[LAST_ERROR_HEADER] = error

    def requeued_message(self) -> bytes:
        """Return the message as it is requeued, with the marks that kombu sets too."""
        properties = self.message["properties"]
        delivery_info = properties["delivery_info"] | {"redelivered": True}
        headers = _without_count(self.headers) | {"redelivered": True}
        headers.pop(ALONE_HEADER, None)
        properties = properties | {"delivery_info": delivery_info}
        return json.dumps(self.message | {"headers": headers, "properties": properties}).encode()

    def count_record(self) -> bytes:
        """Return the count as it is stored if this delivery was counted as lost; else nothing."""
        if not self.is_counted:
            return b""
        headers = self.headers
        record = {
            "count": headers[DELIVERIES_HEADER],
            "first_error": headers[FIRST_ERROR_HEADER],
            "last_error": headers[LAST_ERROR_HEADER],
        }
        return json.dumps(record).encode()

    def _entry(self) -> bytes:
        message = self.message | {"headers": _without_count(self.headers)}
        return json.dumps([message, "", self.queue]).encode()


def count_key(message: Envelope) -> str:
    """Return the key of the count of a message: by the id of its job, or by its body."""
    found = job_id(message["headers"])
    if found is None:
        body = str(message.get("body")).encode("utf-8", "replace")
        found = f"?{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"
    return f"{_COUNT_KEY}{found}"


def set_count(headers: dict[str, object], record: bytes | None) -> None:
    """Put a stored count into headers, instead of what the sender may have written there."""
    for name in COUNT_HEADERS:
        headers.pop(name, None)
    if record is None:
        return
    try:
        found = json.loads(record)
        headers[DELIVERIES_HEADER] = found["count"]
        headers[FIRST_ERROR_HEADER] = found["first_error"]
        headers[LAST_ERROR_HEADER] = found["last_error"]
    except (ValueError, TypeError, KeyError):
        return


def read_counts(
    connection: redis.Redis, messages: Sequence[Envelope], full_key: Callable[[str], str]
) -> None:
    """Put the stored counts of messages into their headers.

    Args:
        connection: To the Redis of the messages; its prefix is not added.
        messages: The messages.
        full_key: Adds the prefix to a key.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    if not messages:
        return
    keys = [full_key(count_key(message)) for message in messages]
    # The method of the base class: kombu's client adds its prefix.
    records = redis.Redis.execute_command(connection, "MGET", *keys)
    for message, record in zip(messages, records, strict=True):
        set_count(message["headers"], record)


def _without_count(headers: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in headers.items() if name not in COUNT_HEADERS}


def job_id(headers: Headers) -> str | None:
    """Return the job id in the headers of a message; None if there is no valid one."""
    return id_in(headers, "id")


def _short(error: object) -> str | None:
    if not isinstance(error, str) or not error.isprintable():
        return None
    return error[:_MAX_ERROR_CHARS] or None
