"""Deliveries that were lost: counted in a message's headers, and what the count means.

    lost once     it goes back to its queue
    lost twice    the same; it may be to blame, so its third delivery runs it alone
    lost alone    it goes back no more, and becomes a dead letter

A delivery is lost when the worker that had it was: what a worker gives back as it ends is not
counted. Before a suspect runs alone it is marked, where it is noted in Redis: jobs that were
merely held beside it are never taken for the culprit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
)
from sentq_worker.broker.message import id_in

__all__ = ["UnackedEntry", "is_suspect", "lost_deliveries"]

_SUSPECT_AFTER: Final = 2

#: What no honest count exceeds.
_MAX_COUNT: Final = 1000

_MAX_ERROR_CHARS: Final = 200


def lost_deliveries(headers: Mapping[str, Any]) -> int:
    """How many deliveries of this message were lost."""
    count = headers.get(DELIVERIES_HEADER)
    return min(count, _MAX_COUNT) if type(count) is int and count > 0 else 0


def is_suspect(headers: Mapping[str, Any]) -> bool:
    """Whether its job must run alone."""
    return lost_deliveries(headers) >= _SUSPECT_AFTER


@dataclass(slots=True)
class UnackedEntry:
    """A message as a worker noted it in `unacked`, under a tag.

    Attributes:
        tag: The tag.
        message: The message.
        queue: Where it was taken from.
    """

    tag: str
    message: dict[str, Any] = field(repr=False)
    queue: str

    @classmethod
    def read(cls, tag: str, raw: bytes | None) -> Self | None:
        """Read an entry of `unacked`: a message, its exchange and its queue; None where that is
        not what it is."""
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
    def headers(self) -> dict[str, Any]:
        """The message's, to be read and changed."""
        headers: dict[str, Any] = self.message["headers"]
        return headers

    @property
    def job_id(self) -> str | None:
        """The id of its job, if it has one."""
        return job_id(self.headers)

    @property
    def alone(self) -> dict[str, Any] | None:
        """The mark of the worker that runs it alone; None where none does, or did so under
        another tag."""
        mark = self.headers.get(ALONE_HEADER)
        return mark if isinstance(mark, dict) and mark.get("tag") == self.tag else None

    @property
    def first_error(self) -> str | None:
        """Why its first delivery was lost."""
        return _short(self.headers.get(FIRST_ERROR_HEADER))

    def mark_alone(self, worker: str, at_s: float) -> bytes:
        """Mark that this worker runs it alone; returns the entry that says so."""
        self.headers[ALONE_HEADER] = {"worker": worker, "at_s": at_s, "tag": self.tag}
        return self._entry()

    def unmark(self) -> bytes:
        """Take the mark away; returns the entry without it."""
        self.headers.pop(ALONE_HEADER, None)
        return self._entry()

    def count_loss(self, error: str) -> None:
        """Count this delivery as lost, and say why it was."""
        headers = self.headers
        headers[DELIVERIES_HEADER] = lost_deliveries(headers) + 1
        headers[FIRST_ERROR_HEADER] = self.first_error or error
        headers[LAST_ERROR_HEADER] = error

    def for_the_queue(self) -> bytes:
        """The message as it goes back to its queue, with the marks that kombu sets too."""
        self.unmark()
        self.headers["redelivered"] = True
        self.message["properties"]["delivery_info"]["redelivered"] = True
        return json.dumps(self.message).encode()

    def _entry(self) -> bytes:
        return json.dumps([self.message, "", self.queue]).encode()


def job_id(headers: Mapping[str, Any]) -> str | None:
    """The id of the job in a message with these headers, if they hold one that can be a key."""
    return id_in(headers, "id")


def _short(error: object) -> str | None:
    if not isinstance(error, str) or not error.isprintable():
        return None
    return error[:_MAX_ERROR_CHARS] or None
