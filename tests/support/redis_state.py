"""What a Redis holds, and a Redis without free memory, for tests of scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis

__all__ = [
    "contents",
    "full_memory",
    "limited_user",
    "lost_deliveries_of",
    "set_lost_deliveries",
]


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


@contextmanager
def limited_user(connection: redis.Redis, *rules: str) -> Iterator[redis.Redis]:
    """Yield a connection of a user with these rights only."""
    name, password = "limited", "secret"
    connection.execute_command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)
    port = connection.connection_pool.connection_kwargs["port"]
    try:
        with redis.Redis(port=port, username=name, password=password) as limited:
            yield limited
    finally:
        connection.execute_command("ACL", "DELUSER", name)


def lost_deliveries_of(connection: redis.Redis, job_id: str) -> dict[str, Any] | None:
    """Return the stored count of a job's lost deliveries, or None."""
    raw = cast("bytes | None", connection.get(f"sentq.deliveries:{job_id}"))
    return None if raw is None else cast("dict[str, Any]", json.loads(raw))


def set_lost_deliveries(
    connection: redis.Redis, job_id: str, count: object, error: str = "the worker was lost"
) -> None:
    """Store a count of a job's lost deliveries, as workers do."""
    record = {"count": count, "first_error": error, "last_error": error}
    connection.set(f"sentq.deliveries:{job_id}", json.dumps(record))
