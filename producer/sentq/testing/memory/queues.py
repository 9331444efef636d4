"""The limits of queues, as scripts check them: the Python side of `lib/queue_limits.lua`."""

from __future__ import annotations

from collections.abc import Sequence

from sentq.testing.memory.database import MemoryDatabase

__all__ = ["exceeded_limits"]


def exceeded_limits(
    database: MemoryDatabase,
    lists: Sequence[bytes],
    max_jobs: int,
    max_bytes: int,
    messages: Sequence[bytes],
) -> list[int] | None:
    """Return the reply for messages that exceed a limit of a queue; None if they fit.

    Args:
        database: The keys.
        lists: All lists of the queue.
        max_jobs, max_bytes: The limits; -1 for none.
        messages: What is to be added.
    """
    waiting_jobs = sum(map(database.llen, lists))
    waiting_bytes = sum(map(database.list_bytes, lists)) if max_bytes >= 0 else 0
    size_bytes = sum(map(len, messages))
    if 0 <= max_jobs < waiting_jobs + len(messages) or 0 <= max_bytes < waiting_bytes + size_bytes:
        return [0, waiting_jobs, waiting_bytes, len(messages), size_bytes]
    return None
