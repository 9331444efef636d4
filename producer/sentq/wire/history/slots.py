"""Slots of the history: counts of all workers together, one hash for each 15 s.

    sentq.history:<number of the slot>   hash   a count by field; expires after an hour

    texts                            texts with an outcome
    jobs:<end>:<queue>               completed jobs: `done`, `failed`, `cancelled`
    seconds:<above>:<upto>:<queue>   done jobs whose outcome was stored so many seconds after they
                                     were sent; the last bound is `inf`

Workers add to the counts, so the size does not depend on how many workers or jobs there are: some
240 slots of 20 fields for each queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final

from sentq.wire.lua import load_script

if TYPE_CHECKING:
    import redis

__all__ = [
    "HISTORY_S",
    "SLOT_S",
    "TEXTS_FIELD",
    "add_to_history",
    "jobs_field",
    "seconds_field",
    "slot_key",
    "slot_of",
]

#: The length of a slot, and for how long it is kept, in seconds.
SLOT_S: Final = 15
HISTORY_S: Final = 3600

TEXTS_FIELD: Final = "texts"

_KEY_PREFIX: Final = "sentq.history:"

_ADD: Final = load_script("sentq.wire", "add_to_history")


def slot_of(at_s: float) -> int:
    """Return the number of the slot of a time in Unix seconds."""
    return int(at_s // SLOT_S)


def slot_key(slot: int, prefix: str = "") -> str:
    """Return the key of a slot."""
    return f"{prefix}{_KEY_PREFIX}{slot}"


def jobs_field(end: str, queue: str) -> str:
    """Return the field that counts the jobs of a queue that ended so."""
    return f"jobs:{end}:{queue}"


def seconds_field(above_s: float, upto_s: float, queue: str) -> str:
    """Return the field that counts the jobs of a queue between two bounds, in seconds."""
    return f"seconds:{above_s:g}:{upto_s:g}:{queue}"


def add_to_history(
    connection: redis.Redis, counts: Mapping[str, int], *, at_s: float, prefix: str = ""
) -> None:
    """Add counts to the slot of a time.

    Args:
        connection: A connection that does not add the prefix to keys.
        counts: By field.
        at_s: The time by Redis' clock, in Unix seconds.
        prefix: The configured prefix of all keys.

    Raises:
        redis.RedisError: They were not added, or the reply was lost.
    """
    key = slot_key(slot_of(at_s), prefix)
    _ADD.run(connection, [key], [HISTORY_S + SLOT_S, *chain.from_iterable(counts.items())])
