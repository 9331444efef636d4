"""Taking messages from Redis, many at once, and never into nowhere.

Kombu's Redis transport takes a message with BRPOP and notes that it has it afterwards: a worker
that dies in between, or whose connection is cut, loses the message. Here one script does both:

    wait   BLMOVE q q RIGHT RIGHT   blocks until there is something, and moves nothing
    take   a script                 queue -> `unacked` and its index, and returns the messages

The structures are kombu's own, so a stock worker restores what a dead worker of ours held, and
the other way round. Each message is noted under a tag of ours: the tag that the sender wrote
into the message is whatever the sender wrote.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import kombu.transport
import orjson
import redis
from kombu.transport import redis as stock
from kombu.transport import virtual

__all__ = ["Transport", "acknowledge_all", "install"]

logger = logging.getLogger(__name__)

#: Messages that are no messages end here, with a reason, one JSON object an entry.
DEAD_LETTERS_KEY: Final = "sentq.dead"

#: How long one wait blocks. It wakes at once for single jobs; other queues and priorities are
#: looked at when it ends.
_WAIT_S: Final = 0.05

#: How long to leave Redis alone after it refused a script (out of memory, read-only replica).
_REFUSED_PAUSE_S: Final = 1.0

#: Bytes of messages that one worker holds, at most, beyond a first one: half a million
#: characters are some minutes of a CPU core.
_MAX_HELD_BYTES: Final = 512 * 1024

#: KEYS: unacked, its index, then lists in the order to read them.
#: ARGV: tag prefix, messages at most, bytes at most, then the queue of each list.
#: Noted before removed: where memory is short, HSET is refused and nothing has moved yet.
_TAKE: Final = """
local now = redis.call('TIME')
local score = now[1] + now[2] / 1e6
local taken, count, bytes = {}, 0, 0
for i = 3, #KEYS do
  while count < tonumber(ARGV[2]) and (count == 0 or bytes < tonumber(ARGV[3])) do
    local raw = redis.call('LINDEX', KEYS[i], -1)
    if not raw then break end
    local tag, queue = ARGV[1] .. count, ARGV[i + 1]
    redis.call('HSET', KEYS[1], tag, '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']')
    redis.call('ZADD', KEYS[2], score, tag)
    redis.call('RPOP', KEYS[i])
    taken[#taken + 1] = tag
    taken[#taken + 1] = queue
    taken[#taken + 1] = raw
    count, bytes = count + 1, bytes + #raw
  end
end
return taken
"""


class TakingQoS(stock.QoS):
    """What a channel holds. Its messages were noted in Redis when they were taken."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bytes: dict[str, int] = {}

    def credit(self) -> int:
        """How many more messages may be taken."""
        self._flush()
        free: int = (self.prefetch_count or 1) - len(self._delivered)
        return free if not self._delivered or self._held_bytes() < _MAX_HELD_BYTES else 0

    def can_consume(self) -> bool:
        """Kombu asks this before it reads."""
        return self.credit() > 0

    def hold(self, tag: str, size_bytes: int) -> None:
        """Remember the size of a message that was taken."""
        self._bytes[tag] = size_bytes

    def append(self, message: Any, delivery_tag: str) -> None:
        """Kombu calls this for each message that it delivers."""
        virtual.QoS.append(self, message, delivery_tag)

    def acknowledge_all(self, tags: Sequence[str]) -> None:
        """Acknowledge many messages in one step.

        Raises:
            redis.RedisError: Redis did not do it; they will be delivered again.
        """
        with self.pipe_or_acquire() as pipe:
            pipe.zrem(self.unacked_index_key, *tags)
            pipe.hdel(self.unacked_key, *tags)
            pipe.execute()
        for tag in tags:
            virtual.QoS.ack(self, tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is kombu's
        """Give a message back to its queue; one that cannot be read becomes a dead letter."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except ValueError:
            with self.channel.conn_or_acquire(client) as connection:
                noted = connection.hget(self.unacked_key, tag)
                self.channel.bury(tag, noted or b"", "it cannot be read")

    def _held_bytes(self) -> int:
        for tag in self._bytes.keys() - self._delivered.keys():
            del self._bytes[tag]
        return sum(self._bytes.values())


class Channel(stock.Channel):
    """Takes messages from one Redis."""

    QoS = TakingQoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tag_prefix = f"{os.getpid():x}-{os.urandom(6).hex()}-"
        self._takes = 0
        self._is_waiting = False
        self._take_next = True
        self._not_before = 0.0
        #: Queues whose messages nobody acknowledges: the replies to `celery inspect`. Noted in
        #: `unacked` they would stay there, and be delivered again to readers long gone.
        self._unacknowledged: set[str] = set()
        self._is_stock = False
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:  # noqa: FBT001 - kombu's
        """Kombu calls this for each queue that somebody reads."""
        if no_ack:
            self._unacknowledged.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask Redis: for messages where there may be some, else to be woken."""
        self._is_stock = not self._unacknowledged.isdisjoint(self.active_queues)
        if self._is_stock:
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = time.monotonic()
        self._is_waiting = not self._take_next or time.monotonic() < self._not_before
        if self._is_waiting:
            key = self._key(self._q_for_pri(queues[0], 0))
            connection.send_command("BLMOVE", key, key, "RIGHT", "RIGHT", _WAIT_S)
        else:
            connection.send_command(*self._take_command(queues))

    def _brpop_read(self, **options: Any) -> Any:
        """Read the answer and deliver what was taken.

        Raises:
            Empty: Nothing was. Kombu's word for it.
        """
        if self._is_stock:
            return super()._brpop_read(**options)
        connection = self.client.connection
        try:
            reply = connection.read_response()
            if self._is_waiting:
                # Woken or not, look: the wait sees one list, the script sees them all.
                self._take_next = True
                if reply is None or time.monotonic() < self._not_before:
                    raise virtual.Empty
                connection.send_command(*self._take_command(self.active_queues))
                reply = connection.read_response()
        except self.connection_errors:
            connection.disconnect()
            raise
        except redis.ResponseError as error:
            # It is said to the operator and tried again; nothing has moved.
            logger.warning("Redis refuses to hand out jobs: %s", error)
            self._not_before = time.monotonic() + _REFUSED_PAUSE_S
            raise virtual.Empty from None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._take_next = bool(reply)
        if not reply:
            raise virtual.Empty
        for tag, queue, raw in _triples(reply):
            self._deliver_taken(tag.decode(), queue.decode(), raw)
        return True

    def _take_command(self, queues: Sequence[str]) -> list[Any]:
        self._takes += 1
        lists = [(self._q_for_pri(q, p), q) for q in queues for p in self.priority_steps]
        keys = [self.unacked_key, self.unacked_index_key, *(key for key, _ in lists)]
        prefix = f"{self._tag_prefix}{self._takes:x}-"
        limits = [max(1, self.qos.credit()), _MAX_HELD_BYTES]
        return [
            *("EVAL", _TAKE, len(keys), *map(self._key, keys)),
            *(prefix, *limits, *(queue for _, queue in lists)),
        ]

    def _deliver_taken(self, tag: str, queue: str, raw: bytes) -> None:
        payload = _readable(raw)
        if payload is None:
            self.bury(tag, raw, "it is not a Celery message")
            return
        payload["properties"]["delivery_tag"] = tag
        self.qos.hold(tag, len(raw))
        try:
            self.connection._deliver(payload, queue)  # noqa: SLF001 - as kombu's own channel does
        except (LookupError, TypeError, ValueError) as error:
            self.bury(tag, raw, f"{type(error).__name__} as it was delivered")

    def bury(self, tag: str, raw: bytes, reason: str) -> None:
        """Move what cannot be handled to the dead letters. The log says that, not what."""
        logger.error("a message of %d bytes became a dead letter: %s", len(raw), reason)
        letter = orjson.dumps(
            {"reason": reason, "at_s": time.time(), "message": raw.decode("utf-8", "replace")}
        )
        with self.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.lpush(DEAD_LETTERS_KEY, letter)
            pipe.zrem(self.unacked_index_key, tag)
            pipe.hdel(self.unacked_key, tag)
            pipe.execute()
        virtual.QoS.ack(self.qos, tag)

    def _key(self, name: str) -> str:
        return f"{self.global_keyprefix}{name}"


class SentinelChannel(Channel, stock.SentinelChannel):
    """Takes messages from the Redis that Sentinel names."""


class Transport(stock.Transport):
    """Kombu's Redis transport, with channels that take."""

    Channel = Channel


class SentinelTransport(stock.SentinelTransport):
    """The same behind Sentinel."""

    Channel = SentinelChannel


def install() -> None:
    """Make this process use these transports wherever a URL says Redis."""
    ours = {
        "redis": f"{__name__}:Transport",
        "rediss": f"{__name__}:Transport",
        "sentinel": f"{__name__}:SentinelTransport",
    }
    kombu.transport.TRANSPORT_ALIASES.update(ours)
    for alias in ours:  # Kombu may have looked one up already.
        kombu.transport._transport_cache.pop(alias, None)  # noqa: SLF001


def acknowledge_all(messages: Sequence[Any]) -> None:
    """Acknowledge messages of one channel, in one step where its transport can.

    Raises:
        Exception: What the transport raises; what was not acknowledged is delivered again.
    """
    if not messages:
        return
    qos = getattr(messages[0].channel, "qos", None)
    if isinstance(qos, TakingQoS):
        qos.acknowledge_all([message.delivery_tag for message in messages])
    else:
        for message in messages:
            message.channel.basic_ack(message.delivery_tag)


def _triples(reply: list[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    it = iter(reply)
    return zip(it, it, it, strict=True)


def _readable(raw: bytes) -> dict[str, Any] | None:
    """The message, if it has the shape that everything behind this counts on."""
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # Strict about what Unicode is; the standard library's, as lenient as kombu's, decides.
        try:
            payload = json.loads(raw)
        except (ValueError, RecursionError):
            return None
    if not isinstance(payload, dict):
        return None
    headers, properties = payload.get("headers"), payload.get("properties")
    has_shape = (
        isinstance(payload.get("body"), str)
        and isinstance(headers, dict)
        and isinstance(properties, dict)
        and isinstance(properties.get("delivery_info"), dict)
        and isinstance(headers.get("task", ""), str)
        and isinstance(headers.get("id", ""), str)
    )
    return payload if has_shape else None
