"""Writing dead letters: a message leaves `unacked` and enters the stream in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import redis

from sentq.wire.dead_letters import DeadLetterCode, dead_letter_fields
from sentq.wire.lua import load_script

__all__ = [
    "DeadLetterTarget",
    "dead_letter",
    "dead_letter_and_log",
    "dead_letter_unreadable",
    "trim_dead_letters",
]

logger = logging.getLogger(__name__)

_DEAD_LETTER: Final = load_script("sentq_worker.broker", "dead_letter_one")
_TRIM: Final = load_script("sentq_worker.broker", "trim_dead_letters")

#: Why a message became a dead letter whose entry in `unacked` cannot be read.
_UNREADABLE: Final = "the message cannot be read"


class DeadLetterTarget(NamedTuple):
    """Where a message is recorded, the stream that it enters, and how long it stays there.

    Attributes:
        unacked_key: The hash of unacknowledged messages.
        index_key: Its index.
        stream_key: The stream of dead letters.
        ttl_s: How long a dead letter is kept, in seconds.
        max_bytes: The most bytes of all dead letters. The oldest ones are removed first.
        timeout_s: Dead-letter the message only if its lease was not renewed for so many seconds;
            None dead-letters it anyway.
    """

    unacked_key: str
    index_key: str
    stream_key: str
    ttl_s: int
    max_bytes: int
    timeout_s: float | None = None

    @property
    def keys(self) -> tuple[str, str, str]:
        """The keys, in the order of the scripts."""
        return self.unacked_key, self.index_key, self.stream_key

    def arguments(self, tag: str, fields: Sequence[bytes]) -> list[object]:
        """Return the arguments, in the order of the scripts."""
        timeout_s = "" if self.timeout_s is None else self.timeout_s
        return [tag, timeout_s, self.ttl_s, self.max_bytes, *fields]


def dead_letter(
    connection: redis.Redis, target: DeadLetterTarget, tag: str, fields: Sequence[bytes]
) -> bool:
    """Make a message a dead letter with these fields; return whether it was still recorded.

    Raises:
        redis.RedisError: It stays where it is.
    """
    return bool(_DEAD_LETTER.run(connection, target.keys, target.arguments(tag, fields)))


def trim_dead_letters(connection: redis.Redis, target: DeadLetterTarget) -> None:
    """Remove dead letters that are too old or have too many bytes, and log how many.

    Raises:
        redis.RedisError: Redis did not answer. A refusal is logged instead.
    """
    try:
        count = int(_TRIM.run(connection, [target.stream_key], [target.ttl_s, target.max_bytes]))
    except redis.ResponseError as error:
        logger.warning("Redis refuses to remove old dead letters: %s", error)
        return
    if count:
        logger.warning("%d old dead letters were removed", count)


def dead_letter_and_log(
    connection: redis.Redis,
    target: DeadLetterTarget,
    tag: str,
    fields: Sequence[bytes],
    *,
    reason: str,
    size_bytes: int,
) -> None:
    """Make a message that cannot be processed a dead letter, and log the reason, but not the
    message. If Redis refuses it, the message is delivered again."""
    try:
        if dead_letter(connection, target, tag, fields):
            logger.error(
                "a message of %d bytes became a dead letter: %s",
                size_bytes,
                reason,
                extra=_named(fields),
            )
    except redis.ResponseError as error:
        logger.warning("Redis refuses a dead letter (%s); the message is delivered again", error)


def _named(fields: Sequence[bytes]) -> dict[str, str]:
    """Return the `extra` of a log line about a dead letter with these fields."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return {"job_id": values[b"job_id"].decode()} if b"job_id" in values else {}


def dead_letter_unreadable(
    connection: redis.Redis, target: DeadLetterTarget, tag: str, raw: bytes
) -> None:
    """Make a message a dead letter whose entry in `unacked` cannot be read."""
    code, reason = DeadLetterCode.MALFORMED, _UNREADABLE
    fields = dead_letter_fields(code=code, reason=reason, message=raw)
    dead_letter_and_log(connection, target, tag, fields, reason=reason, size_bytes=len(raw))
