"""Scheduled jobs: those with an eta, which wait in Redis until they are due.

    sentq.scheduled            sorted set   job id -> when it is due, in Unix milliseconds
    sentq.scheduled.messages   hash         job id -> MessagePack of [list, queue, message]
                                            ""     -> the bytes of all values

Of two messages of one job the later one stands under the id, a space and its delivery tag. Only
workers write these keys; status and operators read the number of jobs.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SCHEDULED_KEY", "SCHEDULED_MESSAGES_KEY"]

SCHEDULED_KEY: Final = "sentq.scheduled"
SCHEDULED_MESSAGES_KEY: Final = "sentq.scheduled.messages"
