"""What a channel took and has not acknowledged, in Redis and in this process.

In Redis it stands in kombu's own structures, where any worker, stock or ours, finds it when this
one is gone:

    unacked         hash    tag -> [message, exchange, queue]
    unacked_index   sorted  tag -> when it was taken, by Redis' clock
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from kombu.transport import redis as stock
from kombu.transport import virtual

__all__ = ["Receipts", "Unacked"]

#: KEYS: unacked, its index, then a list a message. ARGV: tag and message, by turns.
#: Only what is still noted goes back: somebody may have restored it meanwhile. The right end is
#: where messages are taken from.
_GIVE_BACK: Final = """
for i = 3, #KEYS do
  local tag = ARGV[2 * i - 5]
  if redis.call('HDEL', KEYS[1], tag) == 1 then
    redis.call('RPUSH', KEYS[i], ARGV[2 * i - 4])
  end
  redis.call('ZREM', KEYS[2], tag)
end
"""


class Receipts(NamedTuple):
    """What acknowledges messages: their tags, and where these are noted."""

    unacked_key: str
    index_key: str
    tags: Sequence[str]


class Unacked(stock.QoS):
    """Counts messages and their bytes, acknowledges many at once, and gives back the rest.

    Kombu notes a message when it delivers it; here it is noted already, by the step that took it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sizes: dict[str, int] = {}
        self._held_bytes = 0

    def credit(self) -> int:
        """How many more messages may be taken."""
        free: int = (self.prefetch_count or 1) - len(self._sizes)
        return free if not self._sizes or self._held_bytes < self.channel.held_bytes else 0

    def can_consume(self) -> bool:
        """Kombu asks this before it reads."""
        return self.credit() > 0

    def hold(self, tag: str, size_bytes: int) -> None:
        """Count a message that was taken."""
        self._sizes[tag] = size_bytes
        self._held_bytes += size_bytes

    def release(self, tags: Iterable[str]) -> None:
        """Count these no longer: they were acknowledged, in whatever way."""
        for tag in tags:
            self._held_bytes -= self._sizes.pop(tag, 0)

    def acknowledge_all(self, tags: Sequence[str]) -> None:
        """Acknowledge many messages in one step.

        Raises:
            redis.RedisError: Redis did not do it; they will be delivered again.
        """
        with self.pipe_or_acquire() as pipe:
            pipe.zrem(self.unacked_index_key, *tags)
            pipe.hdel(self.unacked_key, *tags)
            pipe.execute()
        self.release(tags)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Kombu calls this for each message that it delivers."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge one message."""
        super().ack(delivery_tag)
        self.release([delivery_tag])

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is kombu's
        """Give one message back, or drop it."""
        super().reject(delivery_tag, requeue=requeue)
        self.release([delivery_tag])

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what is held, as the channel closes. Kombu calls this."""
        if self._sizes:
            # Kombu looks here for whether there is anything to do.
            self._delivered.update(dict.fromkeys(self._sizes))
        super().restore_unacked_once(stderr)

    def restore_unacked(self, client: Any = None) -> list[Any]:
        """Give everything back to the head of its queue, in order.

        Returns:
            Nothing: kombu's list of what could not be restored. It stays noted in Redis.
        """
        tags = list(self._sizes)
        with self.channel.conn_or_acquire(client) as connection:
            noted = (
                connection.execute_command("HMGET", self.channel.full_key(self.unacked_key), *tags)
                if tags
                else []
            )
            # The first one taken goes back last, so that it is the first one taken again.
            self._give_back(connection, list(zip(tags, noted, strict=True))[::-1])
        self.release(tags)
        self._delivered.clear()
        return []

    def _give_back(self, connection: Any, noted: Iterable[tuple[str, bytes | None]]) -> None:
        keys, arguments = [], []
        for tag, entry in noted:
            if entry is None:
                continue
            try:
                message, _, queue = json.loads(entry)
                message["headers"]["redelivered"] = True
                message["properties"]["delivery_info"]["redelivered"] = True
            except (ValueError, TypeError, KeyError, RecursionError):
                self.channel.bury(tag, entry, "it cannot be given back")
                continue
            priority = self.channel._get_message_priority(message, reverse=False)  # noqa: SLF001
            keys.append(self.channel.full_key(self.channel._q_for_pri(queue, priority)))  # noqa: SLF001
            arguments += [tag, json.dumps(message)]
        if keys:
            places = map(self.channel.full_key, (self.unacked_key, self.unacked_index_key))
            connection.execute_command(
                "EVAL", _GIVE_BACK, 2 + len(keys), *places, *keys, *arguments
            )

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is kombu's
        """Give a message back to its queue; one that cannot be read becomes a dead letter."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except ValueError:
            with self.channel.conn_or_acquire(client) as connection:
                noted = connection.hget(self.unacked_key, tag)
                self.channel.bury(tag, noted or b"", "it cannot be read")
