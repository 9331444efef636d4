"""Lost deliveries: counted in a message's headers, and what the count means.

    lost once     the message is requeued
    lost twice    the same; its job is a suspect, so the third delivery runs it alone
    lost alone    the message becomes a dead letter

A delivery is lost if its worker was lost. A message that a worker requeues as it ends is not
counted. Before a suspect runs alone, its entry in Redis is marked: jobs that were only in flight
beside it are never blamed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, Self

from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
)
from sentq_worker.broker.message import Envelope, id_in
from sentq_worker.broker.protocols import Headers

__all__ = ["UnackedEntry", "is_suspect", "lost_deliveries"]

_SUSPECT_AFTER: Final = 2

#: A larger count is not one that workers have written.
_MAX_COUNT: Final = 1000

_MAX_ERROR_CHARS: Final = 200


def lost_deliveries(headers: Headers) -> int:
    """Return how many deliveries of a message were lost."""
    count = headers.get(DELIVERIES_HEADER)
    return min(count, _MAX_COUNT) if type(count) is int and count > 0 else 0


def is_suspect(headers: Headers) -> bool:
    """Return whether a message's job must run alone."""
    return lost_deliveries(headers) >= _SUSPECT_AFTER


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
        return cls(tag, message, queue) if has_shape else None

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
        headers = self.headers
        headers[DELIVERIES_HEADER] = lost_deliveries(headers) + 1
        headers[FIRST_ERROR_HEADER] = self.first_error or error
        headers[LAST_ERROR_HEADER] = error

    def requeued_message(self) -> bytes:
        """Return the message as it is requeued, with the marks that kombu sets too."""
        self.unmark()
        self.headers["redelivered"] = True
        self.message["properties"]["delivery_info"]["redelivered"] = True
        return json.dumps(self.message).encode()

    def _entry(self) -> bytes:
        return json.dumps([self.message, "", self.queue]).encode()


def job_id(headers: Headers) -> str | None:
    """Return the job id in the headers of a message; None if there is no valid one."""
    return id_in(headers, "id")


def _short(error: object) -> str | None:
    if not isinstance(error, str) or not error.isprintable():
        return None
    return error[:_MAX_ERROR_CHARS] or None
