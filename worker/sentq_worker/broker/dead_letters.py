"""Writing dead letters: a message leaves `unacked` and enters the stream in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sentq.wire.dead_letters import APPEND_LETTER

__all__ = ["BURY", "DeadLetterTarget", "dead_letter"]

#: A function for scripts. It moves the message with this tag to the dead letters, if it is still
#: noted and, where a time-out in seconds is given, nobody has renewed it for that long. Returns
#: whether it did. It removes first: after that Redis refuses nothing for want of memory.
BURY: Final = (
    APPEND_LETTER
    + """
local function bury(unacked, index, letters, tag, timeout_s, ttl_s, fields)
  if timeout_s ~= '' then
    local now, score = redis.call('TIME'), redis.call('ZSCORE', index, tag)
    if not score or tonumber(score) > now[1] + now[2] / 1e6 - timeout_s then return false end
  end
  redis.call('ZREM', index, tag)
  if redis.call('HDEL', unacked, tag) == 0 then return false end
  append_letter(letters, ttl_s, fields)
  return true
end
"""
)

#: KEYS: unacked, its index, the letters. ARGV: tag, time-out, TTL of letters, then fields.
_BURY_ONE: Final = (
    BURY
    + """
return bury(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], {unpack(ARGV, 4)}) and 1 or 0
"""
)


class DeadLetterTarget(NamedTuple):
    """Where a message is noted, where it goes, and how long it stays there, in seconds.

    With `timeout_s` it goes only if nobody has renewed it for that long.
    """

    unacked_key: str
    index_key: str
    letters_key: str
    ttl_s: int
    timeout_s: float | None = None

    @property
    def keys(self) -> tuple[str, str, str]:
        """The keys, in the order of the scripts."""
        return self.unacked_key, self.index_key, self.letters_key

    def arguments(self, tag: str, fields: Sequence[bytes]) -> list[Any]:
        """The arguments, in the order of the scripts."""
        timeout_s = "" if self.timeout_s is None else self.timeout_s
        return [tag, timeout_s, self.ttl_s, *fields]


def dead_letter(
    connection: Any, dead_letter_target: DeadLetterTarget, tag: str, fields: Sequence[bytes]
) -> bool:
    """Make a message a dead letter with these fields; returns whether it still was ours to bury.

    Raises:
        redis.RedisError: It stays where it is.
    """
    arguments = dead_letter_target.arguments(tag, fields)
    return bool(
        connection.execute_command("EVAL", _BURY_ONE, 3, *dead_letter_target.keys, *arguments)
    )
