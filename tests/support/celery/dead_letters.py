"""Dead letters in Redis."""

from __future__ import annotations

from typing import Any, cast

import redis

from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter

__all__ = ["read_dead_letters"]


def read_dead_letters(client: redis.Redis) -> list[DeadLetter]:
    """Return all dead letters, the oldest first."""
    entries = cast("list[Any]", client.xrange(DEAD_LETTERS_KEY))
    return [parse_dead_letter(entry_id, fields) for entry_id, fields in entries]
