"""The messages that a channel took and has not acknowledged, in Redis and in this process.

In Redis they are recorded in kombu's own structures, where any worker, stock or ours, finds them
when this one is lost:

    unacked         hash    tag -> [message, exchange, queue]
    unacked_index   sorted  tag -> when it was taken, or renewed, by Redis' clock
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol, TextIO

import redis
from kombu.transport import redis as stock
from kombu.transport import virtual
from redis.exceptions import OutOfMemoryError

from sentq.wire.lua import load_script
from sentq_worker.broker.at_maxmemory.clients import beyond_maxmemory
from sentq_worker.broker.delivery import COUNT_TTL_S, UnackedEntry, count_key
from sentq_worker.broker.message import Envelope
from sentq_worker.broker.protocols import DeliveredMessage

__all__ = ["UnackedQoS", "UnackedTags"]

logger = logging.getLogger(__name__)

_REQUEUE: Final = load_script("sentq_worker.broker", "requeue_messages")
_REWRITE: Final = load_script("sentq_worker.broker", "rewrite_entry")


class UnackedTags(NamedTuple):
    """The tags of messages, and the keys under which the messages are recorded."""

    unacked_key: str
    index_key: str
    tags: Sequence[str]


class UnackedChannel(Protocol):
    """What the QoS uses of its channel, `broker.channel.Channel`."""

    @property
    def in_flight_bytes(self) -> int: ...

    def full_key(self, name: str) -> str: ...

    def conn_or_acquire(
        self, client: redis.Redis | None = None
    ) -> AbstractContextManager[redis.Redis]: ...

    def dead_letter_unreadable(self, tag: str, raw: bytes) -> None: ...

    def _get_message_priority(self, message: Envelope, *, reverse: bool) -> int: ...

    def _q_for_pri(self, queue: str, pri: int) -> str: ...


class UnackedQoS(stock.QoS):
    """Counts messages and their bytes, acknowledges many at once, and requeues the rest.

    Kombu records a message when it delivers it. Here it is recorded already, by the step that
    took it.
    """

    channel: UnackedChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sizes: dict[str, int] = {}
        self._in_flight_bytes = 0
        #: The bytes of messages whose jobs compute for long, by tag.
        self._long: dict[str, int] = {}
        #: The keys of counts of lost deliveries, by the tags of messages that have one.
        self._count_keys: dict[str, str] = {}
        #: Returns the tags of messages that stay with this worker when their connection closes.
        self.kept_tags: Callable[[], Collection[str]] = tuple

    def tags(self) -> list[str]:
        """Return the tags of the messages in flight. Any thread may call this."""
        return list(self._sizes)  # One step for the interpreter, so no thread interferes.

    def adopt(self, before: UnackedQoS) -> None:
        """Take over the messages in flight of an earlier connection's channel. Those that do not
        stay with this worker are requeued, unless they were as that connection closed.

        Raises:
            redis.RedisError: All of them are still recorded, and count as in flight here.
        """
        for tag, size_bytes in before._sizes.items():
            self.add(tag, size_bytes)
        self.make_room([*before._long])
        self._count_keys |= before._count_keys
        before.release(before.tags())
        self.restore_unacked()

    def restore_visible(self, *_: object, **__: object) -> None:
        """Do nothing: kombu would go by this host's clock. `leases` requeues instead."""

    def credit(self) -> int:
        """Return how many more messages may be taken."""
        free: int = (self.prefetch_count or 1) - len(self._sizes)
        size_bytes = self._in_flight_bytes - sum(self._long.values())
        return free if not self._sizes or size_bytes < self.channel.in_flight_bytes else 0

    @property
    def has_messages(self) -> bool:
        """Whether messages are in flight."""
        return bool(self._sizes)

    @property
    def takes_first_queue_only(self) -> bool:
        """Whether there is room only because some jobs compute for long. Jobs of the first queue
        shall not wait for these; bulk work would only be kept from workers that are idle."""
        return bool(self._long) and self._in_flight_bytes >= self.channel.in_flight_bytes

    def make_room(self, tags: Iterable[str]) -> None:
        """Leave room for messages of the first queue beside these, whose jobs compute for long."""
        self._long |= {tag: self._sizes[tag] for tag in tags if tag in self._sizes}

    def can_consume(self) -> bool:
        """Return whether a message may be taken. Kombu calls this before it reads."""
        return self.credit() > 0

    def add(self, tag: str, size_bytes: int) -> None:
        """Count a message that was taken."""
        self._sizes[tag] = size_bytes
        self._in_flight_bytes += size_bytes

    def release(self, tags: Iterable[str]) -> None:
        """Count these messages no longer: they are not in flight any more."""
        for tag in tags:
            self._in_flight_bytes -= self._sizes.pop(tag, 0)
            if self._long:
                self._long.pop(tag, None)
            if self._count_keys:
                self._count_keys.pop(tag, None)

    def has_count(self, tag: str, count_key: str) -> None:
        """Record that there is a count of lost deliveries of a message."""
        self._count_keys[tag] = count_key

    def complete(self, tags: Iterable[str]) -> None:
        """Count these messages no longer: they are acknowledged. Counts of their lost deliveries
        are removed; they expire if Redis does not answer."""
        tags = list(tags)
        counts = [self._count_keys[tag] for tag in tags if tag in self._count_keys]
        self.release(tags)
        if counts:
            with contextlib.suppress(redis.RedisError), self.channel.conn_or_acquire() as client:
                redis.Redis.execute_command(client, "DEL", *counts)

    def acknowledge_all(self, tags: Sequence[str]) -> None:
        """Acknowledge many messages in one step.

        Raises:
            redis.RedisError: Redis did not; they are delivered again.
        """
        with beyond_maxmemory(), self.pipe_or_acquire() as pipe:
            pipe.zrem(self.unacked_index_key, *tags)
            pipe.hdel(self.unacked_key, *tags)
            pipe.execute()
        self.complete(tags)

    def append(self, message: DeliveredMessage, delivery_tag: str) -> None:
        """Keep a message that was delivered. Kombu calls this."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge one message."""
        with beyond_maxmemory():
            super().ack(delivery_tag)
        self.complete([delivery_tag])

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is kombu's
        """Requeue one message, or drop it."""
        with beyond_maxmemory():
            super().reject(delivery_tag, requeue=requeue)
        self.release([delivery_tag])

    def restore_unacked_once(self, stderr: TextIO | None = None) -> None:
        """Requeue the messages in flight, as the channel closes. Kombu calls this."""
        left = self._not_kept()
        # Kombu does nothing if this is empty.
        self._delivered.update(dict.fromkeys(left))
        try:
            super().restore_unacked_once(stderr)
        except Exception as error:  # noqa: BLE001 - the worker goes on after any error
            logger.warning(
                "%d jobs cannot be requeued now (%s); they are when their leases expire",
                len(left),
                type(error).__name__,
            )

    def restore_unacked(self, client: redis.Redis | None = None) -> list[object]:
        """Requeue all messages that do not stay with this worker, at the head of their queues, in
        order.

        Returns:
            An empty list: kombu's of messages that could not be restored. Those are still
            recorded in Redis.
        """
        tags = self._not_kept()
        with self.channel.conn_or_acquire(client) as connection:
            # The first one taken is requeued last, so that it is the first one taken again.
            self.requeue(connection, self.entries(connection, tags)[::-1])
        self.release(tags)
        self._delivered.clear()
        return []

    def _not_kept(self) -> list[str]:
        in_flight_tags = self.kept_tags()
        return [tag for tag in self._sizes if tag not in in_flight_tags]

    def entries(self, connection: redis.Redis, tags: Sequence[str]) -> list[UnackedEntry]:
        """Return what is recorded in Redis under these tags. An entry that cannot be read becomes
        a dead letter."""
        if not tags:
            return []
        key = self.channel.full_key(self.unacked_key)
        entries = []
        for tag, raw in zip(tags, connection.execute_command("HMGET", key, *tags), strict=True):
            entry = UnackedEntry.read(tag, raw)
            if entry is not None:
                entries.append(entry)
            elif raw is not None:
                self.channel.dead_letter_unreadable(tag, raw)
        return entries

    def requeue(
        self,
        connection: redis.Redis,
        entries: Iterable[UnackedEntry],
        *,
        timeout_s: float | None = None,
    ) -> int:
        """Put messages at the head of their queues, each before the last one.

        Args:
            connection: To the Redis of the messages; one that adds no prefix to keys by itself.
            entries: The messages.
            timeout_s: Requeue only those that were not renewed for so many seconds; None requeues
                all.

        Returns:
            How many messages were requeued. One that is no longer recorded is not.
        """
        keys, arguments = [], []
        for entry in entries:
            priority = self.channel._get_message_priority(entry.message, reverse=False)  # noqa: SLF001
            keys.append(self.channel.full_key(self.channel._q_for_pri(entry.queue, priority)))  # noqa: SLF001
            keys.append(self.channel.full_key(count_key(entry.message)))
            arguments += [entry.tag, entry.requeued_message(), entry.count_record()]
        if not keys:
            return 0
        limit = "" if timeout_s is None else timeout_s
        return int(_REQUEUE.run(connection, [*self._keys, *keys], [limit, COUNT_TTL_S, *arguments]))

    def mark_alone(self, tag: str, worker: str) -> bool:
        """Mark in Redis that this worker is about to run a message's job alone; return whether
        the message is still recorded, so that its job may run.

        Raises:
            redis.RedisError: It is not marked.
        """
        with self.channel.conn_or_acquire() as connection:
            for entry in self.entries(connection, [tag]):
                seconds, microseconds = connection.time()
                raw = entry.mark_alone(worker, seconds + microseconds / 1e6)
                return self._rewrite(connection, tag, raw)
        return False

    def unmark(self, tag: str) -> None:
        """Remove the mark in Redis: the job runs no longer, and waits.

        Raises:
            redis.RedisError: It is still marked.
        """
        with self.channel.conn_or_acquire() as connection:
            for entry in self.entries(connection, [tag]):
                self._rewrite(connection, tag, entry.unmark())

    def _rewrite(self, connection: redis.Redis, tag: str, raw: bytes) -> bool:
        return bool(_REWRITE.run(connection, self._keys, [tag, raw]))

    @property
    def _keys(self) -> tuple[str, str]:
        full_key = self.channel.full_key
        return full_key(self.unacked_key), full_key(self.unacked_index_key)

    def restore_by_tag(
        self,
        tag: str,
        client: redis.Redis | None = None,
        leftmost: bool = False,  # noqa: FBT001, FBT002 - its signature is kombu's
    ) -> None:
        """Requeue a message; one that cannot be read becomes a dead letter."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except OutOfMemoryError:
            with self.channel.conn_or_acquire(client) as connection:
                self.requeue(connection, self.entries(connection, [tag]))
        except ValueError:
            with self.channel.conn_or_acquire(client) as connection:
                raw = connection.execute_command("HGET", self.unacked_key, tag)
                self.channel.dead_letter_unreadable(tag, raw or b"")
