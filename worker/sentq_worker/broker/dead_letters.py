"""Writing dead letters: a message leaves `unacked` and enters the stream in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sentq.wire.lua import load_script

__all__ = ["DeadLetterTarget", "dead_letter"]

_DEAD_LETTER: Final = load_script("sentq_worker.broker", "dead_letter_one")


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
    return bool(_DEAD_LETTER.run(connection, dead_letter_target.keys, arguments))
