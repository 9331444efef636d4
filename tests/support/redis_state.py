"""What a Redis holds, and a Redis without free memory, for tests of scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis

__all__ = ["contents", "full_memory"]


def contents(connection: redis.Redis) -> dict[bytes, Any]:
    """Return the serialised value of each key."""
    keys = cast("list[bytes]", connection.keys("*"))
    return {key: connection.dump(key) for key in keys}


@contextmanager
def full_memory(connection: redis.Redis) -> Iterator[None]:
    """Let Redis refuse, for the block, each command that may need memory."""
    connection.config_set("maxmemory", 1)
    try:
        yield
    finally:
        connection.config_set("maxmemory", 0)
