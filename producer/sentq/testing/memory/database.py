"""The keys of an in-memory Redis: values that expire, and the operations on them that sentq needs.

Each method does what the command of its name does. Strings are bytes, as in Redis; times are in
Unix seconds by the clock of this process.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sentq.testing.memory.streams import MemoryStreams
from sentq.wire.clock import CLOCK

__all__ = ["MemoryDatabase"]

#: What Redis needs to keep an entry of a list, beside its bytes.
_ENTRY_BYTES: Final = 16


class MemoryDatabase:
    """The keys and values. Not thread-safe.

    Args:
        publish: Delivers a message to the subscribers of a channel, and returns their number.
        pushed: Is told each value that is put into a list, and the key of the list.
    """

    def __init__(
        self,
        publish: Callable[[bytes, bytes], int] = lambda _channel, _data: 0,
        pushed: Callable[[bytes, bytes], None] = lambda _key, _value: None,
    ) -> None:
        self.publish = publish
        self._pushed = pushed
        self.streams = MemoryStreams()
        self._strings: dict[bytes, bytes] = {}
        #: The newest message of a list, which is pushed last, is the first.
        self._lists: dict[bytes, deque[bytes]] = {}
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._sorted_sets: dict[bytes, dict[bytes, float]] = {}
        self._expires_at_s: dict[bytes, float] = {}
        #: Keys by when they expire. A key that was kept for longer since then has another entry.
        self._expiring: list[tuple[float, bytes]] = []

    # --- Keys ---------------------------------------------------------------------------------

    def drop_expired(self) -> None:
        """Remove the keys whose time has passed. Call it before each command."""
        now_s = CLOCK.unix_s()
        while self._expiring and self._expiring[0][0] <= now_s:
            _, key = heapq.heappop(self._expiring)
            if self._expires_at_s.get(key, now_s + 1) <= now_s:
                self.delete(key)

    def time(self) -> tuple[int, int]:
        """Return the time, in seconds and microseconds."""
        return divmod(int(CLOCK.unix_s() * 1e6), 1_000_000)

    def exists(self, key: bytes) -> bool:
        """Return whether a key has a value."""
        return any(key in values for values in self._values)

    def delete(self, *keys: bytes) -> int:
        """Remove keys; return how many had a value."""
        found = [key for key in keys if self.exists(key)]
        for key in found:
            for values in self._values:
                values.pop(key, None)
            self._expires_at_s.pop(key, None)
        return len(found)

    def expire(self, key: bytes, seconds: float) -> bool:
        """Keep a key for so long from now on; return whether it has a value."""
        if not self.exists(key):
            return False
        at_s = CLOCK.unix_s() + seconds
        self._expires_at_s[key] = at_s
        heapq.heappush(self._expiring, (at_s, key))
        return True

    def dump(self) -> dict[bytes, tuple[Any, int | None]]:
        """Return each key with its value and the seconds that it is kept, None if without end."""
        now_s = CLOCK.unix_s()
        kept_s = {key: round(at_s - now_s) for key, at_s in self._expires_at_s.items()}
        return {
            key: (value, kept_s.get(key))
            for values in self._values
            for key, value in values.items()
        }

    # --- Strings ------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Return a string."""
        return self._strings.get(key)

    def set(self, key: bytes, value: bytes, *, ex: float | None = None, nx: bool = False) -> bool:
        """Write a string that is kept for `ex` seconds; return whether it was written."""
        if nx and self.exists(key):
            return False
        self.delete(key)
        self._strings[key] = value
        if ex is not None:
            self.expire(key, ex)
        return True

    def append(self, key: bytes, value: bytes) -> int:
        """Append to a string; return its length."""
        self._strings[key] = self._strings.get(key, b"") + value
        return len(self._strings[key])

    def getrange(self, key: bytes, first: int, last: int) -> bytes:
        """Return a part of a string; both ends count from 0."""
        return self._strings.get(key, b"")[first : last + 1]

    def swap_pair(self, key: bytes, place: int, value: int | None) -> int:
        """Return the two bits at a place of a string, as `BITFIELD key GET u2 #place` does; replace
        them, unless the new value is None."""
        at, shift = place // 4, 6 - 2 * (place % 4)
        content = bytearray(self._strings.get(key, b""))
        before = content[at] >> shift & 3 if at < len(content) else 0
        if value is not None:
            content.extend(bytes(max(0, at + 1 - len(content))))
            content[at] = content[at] & ~(3 << shift) | value << shift
            self._strings[key] = bytes(content)
        return before

    # --- Lists --------------------------------------------------------------------------------

    def lpush(self, key: bytes, *values: bytes) -> int:
        """Put values at the front of a list; return its length."""
        messages = self._lists.setdefault(key, deque())
        messages.extendleft(values)
        for value in values:
            self._pushed(key, value)
        return len(messages)

    def rpop(self, key: bytes) -> bytes | None:
        """Remove and return the last value of a list."""
        messages = self._lists.get(key)
        if not messages:
            return None
        value = messages.pop()
        if not messages:
            self.delete(key)
        return value

    def llen(self, key: bytes) -> int:
        """Return the length of a list."""
        return len(self._lists.get(key, ()))

    def lindex(self, key: bytes, place: int) -> bytes | None:
        """Return a value of a list; a negative place counts from its end."""
        try:
            return self._lists[key][place]
        except (KeyError, IndexError):
            return None

    def lrange(self, key: bytes, first: int, last: int) -> list[bytes]:
        """Return values of a list, up to a place that counts from its front."""
        return list(self._lists.get(key, ()))[first : last + 1]

    def list_keys(self) -> list[bytes]:
        """Return the keys of all lists."""
        return list(self._lists)

    def list_bytes(self, key: bytes) -> int:
        """Return about how many bytes a list takes."""
        return sum(len(value) + _ENTRY_BYTES for value in self._lists.get(key, ()))

    # --- Hashes -------------------------------------------------------------------------------

    def hset(self, key: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Write fields of a hash."""
        self._hashes.setdefault(key, {}).update(fields)

    def hget(self, key: bytes, field: bytes) -> bytes | None:
        """Return a field of a hash."""
        return self._hashes.get(key, {}).get(field)

    def hgetall(self, key: bytes) -> dict[bytes, bytes]:
        """Return all fields of a hash."""
        return dict(self._hashes.get(key, {}))

    def hdel(self, key: bytes, *fields: bytes) -> int:
        """Remove fields of a hash; return how many there were."""
        content = self._hashes.get(key, {})
        removed = sum(content.pop(field, None) is not None for field in fields)
        if removed and not content:
            self.delete(key)
        return removed

    def hincrby(self, key: bytes, field: bytes, added: int) -> int:
        """Add to a number in a hash, and return it."""
        number = int(self.hget(key, field) or 0) + added
        self.hset(key, {field: b"%d" % number})
        return number

    # --- Sorted sets --------------------------------------------------------------------------

    def zadd(self, key: bytes, members: Mapping[bytes, float]) -> int:
        """Enter members with their scores into a sorted set; return how many are new."""
        content = self._sorted_sets.setdefault(key, {})
        before = len(content)
        content.update({member: float(score) for member, score in members.items()})
        return len(content) - before

    def zrem(self, key: bytes, *members: bytes) -> int:
        """Remove members of a sorted set; return how many there were."""
        content = self._sorted_sets.get(key, {})
        removed = sum(content.pop(member, None) is not None for member in members)
        if removed and not content:
            self.delete(key)
        return removed

    def zcard(self, key: bytes) -> int:
        """Return how many members a sorted set has."""
        return len(self._sorted_sets.get(key, ()))

    def zcount(self, key: bytes, least: bytes, most: bytes) -> int:
        """Return how many members have a score between two, as `ZCOUNT` has them."""
        low, high = float(least.removeprefix(b"(")), float(most.removeprefix(b"("))
        return sum(
            (score > low if least.startswith(b"(") else score >= low)
            and (score < high if most.startswith(b"(") else score <= high)
            for score in self._sorted_sets.get(key, {}).values()
        )

    def zscore(self, key: bytes, member: bytes) -> float | None:
        """Return the score of a member."""
        return self._sorted_sets.get(key, {}).get(member)

    def zrange(self, key: bytes, *, most: float = float("inf")) -> list[bytes]:
        """Return the members with a score of at most `most`, the lowest first."""
        content = self._sorted_sets.get(key, {})
        in_order = sorted(content.items(), key=lambda item: (item[1], item[0]))
        return [member for member, score in in_order if score <= most]

    def zremrangebyscore(self, key: bytes, most: float) -> int:
        """Remove the members with a score of at most `most`; return how many there were."""
        return self.zrem(key, *self.zrange(key, most=most))

    @property
    def _values(self) -> Iterable[dict[bytes, Any]]:
        return (
            self._strings,
            self._lists,
            self._hashes,
            self._sorted_sets,
            self.streams.by_key,
        )
