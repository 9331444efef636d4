"""Scheduled jobs: those with an eta, which wait in Redis until they are due.

    sentq.scheduled            sorted set   job id -> when it is due, in Unix milliseconds
    sentq.scheduled.messages   hash         job id -> MessagePack of [list, queue, message]
                                            ""     -> the bytes of all values

Of two messages of one job the later one stands under the id, a space and its delivery tag. Only
workers write these keys; a sender puts an eta into its message, and the worker that takes it moves
it here. Senders, status and operators read the number of jobs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

__all__ = ["SCHEDULED_KEY", "SCHEDULED_MESSAGES_KEY", "DueTime", "moment"]

SCHEDULED_KEY: Final = "sentq.scheduled"
SCHEDULED_MESSAGES_KEY: Final = "sentq.scheduled.messages"

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def moment(unix_ms: int) -> datetime:
    """Return the time of so many Unix milliseconds, exactly, in UTC."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


@dataclass(frozen=True, slots=True)
class DueTime:
    """When a job is due that is sent now.

    Attributes:
        at_ms: When it is due, in Unix milliseconds by Redis' clock.
        in_s: In how many seconds, rounded up. What makes the job known is kept for so much longer.
    """

    at_ms: int
    in_s: int

    @classmethod
    def after(cls, now_s: float, at_s: float) -> Self | None:
        """Return the time `at_s` as seen at `now_s`, both in Unix seconds; None if it has come."""
        if at_s <= now_s:
            return None
        return cls(math.ceil(at_s * 1000), math.ceil(at_s - now_s))
