"""Adds what a worker has completed to the history in Redis, with each of its reports."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from sentq.wire.history.slots import add_to_history

__all__ = ["HistoryWriter"]


class HistoryWriter:
    """Writes the history of one worker."""

    def __init__(self) -> None:
        self._written: Mapping[str, int] = {}

    def write(
        self, connection: redis.Redis, totals: Mapping[str, int], *, now_s: float, prefix: str
    ) -> None:
        """Add what was completed since the last call that succeeded.

        Args:
            connection: A connection that does not add the prefix to keys.
            totals: Counts since the worker started, by field of the history.
            now_s: Redis' time, in Unix seconds.
            prefix: The configured prefix of all keys.

        Raises:
            redis.RedisError: It was not added, and is with the next call.
        """
        counts = {
            name: total - before
            for name, total in totals.items()
            if total > (before := self._written.get(name, 0))
        }
        if counts:
            add_to_history(connection, counts, at_s=now_s, prefix=prefix)
        self._written = totals
