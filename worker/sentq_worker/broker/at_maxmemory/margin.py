"""How far outcomes may exceed `maxmemory` while Redis is full."""

from __future__ import annotations

from typing import Final

import redis
from redis.exceptions import NoPermissionError

from sentq.wire.lua import load_script

__all__ = ["MemoryMargin"]

_REFUSES_WRITES: Final = load_script("sentq_worker.broker", "refuses_writes")

#: A member that no sorted set has.
_NO_MEMBER: Final = ""


class MemoryMargin:
    """The memory beyond `maxmemory` that outcomes may take.

    Outcomes that need no more memory than the messages of their jobs are stored without it.

    Args:
        share: The margin, as a share of `maxmemory`.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def has_room(self, client: redis.Redis) -> bool:
        """Return whether a Redis uses less than its `maxmemory` and the margin.

        False for a user that may not ask for it (INFO).

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if not self._share:
            return False
        try:
            memory = client.info("memory")
        except NoPermissionError:
            return False
        used_bytes = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
        return bool(used_bytes < memory["maxmemory"] * (1 + self._share))

    def may_write(self, client: redis.Redis, key: str | bytes) -> bool:
        """Return whether a Redis has memory, or room within the margin.

        Args:
            client: Its client.
            key: The full name of a sorted set, or of a key that is not there.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        return not _REFUSES_WRITES.run(client, [key], [_NO_MEMBER]) or self.has_room(client)
