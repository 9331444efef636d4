"""The streams of an in-memory Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final, TypeAlias

from redis.exceptions import ResponseError

from sentq.wire.clock import CLOCK

__all__ = ["EntryId", "MemoryStreams"]

#: The time in Unix milliseconds, and a number that tells entries of one millisecond apart.
EntryId: TypeAlias = tuple[int, int]

_ID: Final = re.compile(rb"(\d+)(?:-(\d+))?", re.ASCII)
_LAST_NUMBER: Final = 2**64 - 1


class MemoryStreams:
    """Streams by key, each with its entries in order."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, dict[EntryId, dict[bytes, bytes]]] = {}

    def add(self, key: bytes, fields: Mapping[bytes, bytes]) -> bytes:
        """Append an entry, and return its id."""
        entries = self.by_key.setdefault(key, {})
        last_ms, last_number = max(entries, default=(0, 0))
        now_ms = max(int(CLOCK.unix_s() * 1000), last_ms)
        entry_id = (now_ms, last_number + 1 if now_ms == last_ms else 0)
        entries[entry_id] = dict(fields)
        return _text_of(entry_id)

    def length(self, key: bytes) -> int:
        """Return how many entries a stream has."""
        return len(self.by_key.get(key, ()))

    def between(
        self, key: bytes, first: bytes, last: bytes, count: int | None = None
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return at most so many entries with their ids, as `XRANGE` does.

        Raises:
            redis.ResponseError: An end of the range is malformed.
        """
        after, low = _low_end(first)
        high = _id_of(last, number=_LAST_NUMBER) if last != b"+" else None
        found = (
            (_text_of(entry_id), dict(fields))
            for entry_id, fields in self.by_key.get(key, {}).items()
            if (entry_id > low if after else entry_id >= low) and (high is None or entry_id <= high)
        )
        return list(islice(found, count))

    def delete(self, key: bytes, *ids: bytes) -> int:
        """Remove entries; return how many there were."""
        entries = self.by_key.get(key, {})
        return sum(entries.pop(_id_of(each), None) is not None for each in ids)

    def trim(self, key: bytes, oldest: bytes) -> int:
        """Remove the entries before an id; return how many there were."""
        least = _id_of(oldest)
        entries = self.by_key.get(key, {})
        removed = [each for each in entries if each < least]
        for each in removed:
            del entries[each]
        return len(removed)


def _low_end(first: bytes) -> tuple[bool, EntryId]:
    """Return whether the first entry comes after the id, and the id."""
    if first == b"-":
        return False, (0, 0)
    return first.startswith(b"("), _id_of(first.removeprefix(b"("))


def _id_of(text: bytes, *, number: int = 0) -> EntryId:
    match = _ID.fullmatch(text)
    if match is None:
        raise ResponseError("Invalid stream ID specified as stream command argument")
    return int(match[1]), number if match[2] is None else int(match[2])


def _text_of(entry_id: EntryId) -> bytes:
    return b"%d-%d" % entry_id
