"""What a channel took and has not acknowledged, in Redis and in this process.

In Redis it stands in kombu's own structures, where any worker, stock or ours, finds it when this
one is gone:

    unacked         hash    tag -> [message, exchange, queue]
    unacked_index   sorted  tag -> when it was taken, or renewed, by Redis' clock
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from kombu.transport import redis as stock
from kombu.transport import virtual

from sentq.wire.lua import load_script
from sentq_worker.broker.delivery import UnackedEntry

__all__ = ["AckHandles", "UnackedQoS"]

logger = logging.getLogger(__name__)

_REQUEUE: Final = load_script("sentq_worker.broker", "requeue_messages")
_REWRITE: Final = load_script("sentq_worker.broker", "rewrite_entry")


class AckHandles(NamedTuple):
    """What acknowledges messages: their tags, and where these are noted."""

    unacked_key: str
    index_key: str
    tags: Sequence[str]


class UnackedQoS(stock.QoS):
    """Counts messages and their bytes, acknowledges many at once, and gives back the rest.

    Kombu notes a message when it delivers it; here it is noted already, by the step that took it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sizes: dict[str, int] = {}
        self._in_flight_bytes = 0
        #: Under which tags messages are noted that stay with this worker though their connection
        #: closes.
        self.kept_tags: Callable[[], Collection[str]] = tuple

    def tags(self) -> list[str]:
        """Under which tags messages are held. Any thread may ask."""
        return list(self._sizes)  # One step for the interpreter: nobody changes it meanwhile.

    def adopt(self, before: UnackedQoS) -> None:
        """Go on with what the channel of an earlier connection held: with what stays in hand;
        the rest goes back to its queue, if it did not as that connection closed.

        Raises:
            redis.RedisError: All of it is noted still, and counts as held by this channel.
        """
        for tag, size_bytes in before._sizes.items():
            self.hold(tag, size_bytes)
        before.release(before.tags())
        self.restore_unacked()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing: kombu would go by this machine's clock. `leases` does it."""

    def credit(self) -> int:
        """How many more messages may be taken."""
        free: int = (self.prefetch_count or 1) - len(self._sizes)
        return (
            free if not self._sizes or self._in_flight_bytes < self.channel.in_flight_bytes else 0
        )

    def can_consume(self) -> bool:
        """Kombu asks this before it reads."""
        return self.credit() > 0

    def hold(self, tag: str, size_bytes: int) -> None:
        """Count a message that was taken."""
        self._sizes[tag] = size_bytes
        self._in_flight_bytes += size_bytes

    def release(self, tags: Iterable[str]) -> None:
        """Count these no longer: they were acknowledged, in whatever way."""
        for tag in tags:
            self._in_flight_bytes -= self._sizes.pop(tag, 0)

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
        left = self._not_kept()
        # Kombu looks here for whether there is anything to do.
        self._delivered.update(dict.fromkeys(left))
        try:
            super().restore_unacked_once(stderr)
        except Exception as error:  # noqa: BLE001 - whatever broke, the worker goes on
            logger.warning(
                "%d jobs cannot be given back now (%s); they come back by themselves",
                len(left),
                type(error).__name__,
            )

    def restore_unacked(self, client: Any = None) -> list[Any]:
        """Give back all that does not stay in hand, to the head of its queue, in order.

        Returns:
            Nothing: kombu's list of what could not be restored. It stays noted in Redis.
        """
        tags = self._not_kept()
        with self.channel.conn_or_acquire(client) as connection:
            # The first one taken goes back last, so that it is the first one taken again.
            self.requeue(connection, self.noted(connection, tags)[::-1])
        self.release(tags)
        self._delivered.clear()
        return []

    def _not_kept(self) -> list[str]:
        in_flight_tags = self.kept_tags()
        return [tag for tag in self._sizes if tag not in in_flight_tags]

    def noted(self, connection: Any, tags: Sequence[str]) -> list[UnackedEntry]:
        """What stands in Redis under these tags. What cannot be read becomes a dead letter."""
        if not tags:
            return []
        key = self.channel.full_key(self.unacked_key)
        entries = []
        for tag, raw in zip(tags, connection.execute_command("HMGET", key, *tags), strict=True):
            entry = UnackedEntry.read(tag, raw)
            if entry is not None:
                entries.append(entry)
            elif raw is not None:
                self.channel.dead_letter(tag, raw, "it cannot be given back")
        return entries

    def requeue(
        self, connection: Any, entries: Iterable[UnackedEntry], *, timeout_s: float | None = None
    ) -> int:
        """Put messages at the head of their queues, each before the last one; those alone that
        nobody has renewed for `timeout_s`, where that is given. Returns how many went back."""
        keys, arguments = [], []
        for entry in entries:
            priority = self.channel._get_message_priority(entry.message, reverse=False)  # noqa: SLF001
            keys.append(self.channel.full_key(self.channel._q_for_pri(entry.queue, priority)))  # noqa: SLF001
            arguments += [entry.tag, entry.for_the_queue()]
        if not keys:
            return 0
        limit = "" if timeout_s is None else timeout_s
        return int(_REQUEUE.run(connection, [*self._places, *keys], [limit, *arguments]))

    def mark_alone(self, tag: str, worker: str) -> bool:
        """Mark in Redis that this worker is about to run a message's job alone; returns whether
        the message is still ours to run.

        Raises:
            redis.RedisError: It is not marked.
        """
        with self.channel.conn_or_acquire() as connection:
            for entry in self.noted(connection, [tag]):
                seconds, microseconds = connection.time()
                raw = entry.mark_alone(worker, seconds + microseconds / 1e6)
                return self._rewrite(connection, tag, raw)
        return False

    def unmark(self, tag: str) -> None:
        """Say in Redis that the job runs no longer, and waits.

        Raises:
            redis.RedisError: It is marked still.
        """
        with self.channel.conn_or_acquire() as connection:
            for entry in self.noted(connection, [tag]):
                self._rewrite(connection, tag, entry.unmark())

    def _rewrite(self, connection: Any, tag: str, raw: bytes) -> bool:
        return bool(_REWRITE.run(connection, self._places, [tag, raw]))

    @property
    def _places(self) -> tuple[str, str]:
        full_key = self.channel.full_key
        return full_key(self.unacked_key), full_key(self.unacked_index_key)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is kombu's
        """Give a message back to its queue; one that cannot be read becomes a dead letter."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except ValueError:
            with self.channel.conn_or_acquire(client) as connection:
                noted = connection.hget(self.unacked_key, tag)
                self.channel.dead_letter(tag, noted or b"", "it cannot be read")
