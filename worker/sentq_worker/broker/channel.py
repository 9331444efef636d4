"""Taking messages from Redis, many at once, without losing one.

Kombu's Redis transport takes a message with BRPOP and records it afterwards: a worker that dies in
between, or whose connection is cut, loses the message. Here one script does both:

    wait   `broker.intake.waiting`   blocks until there is something, and moves nothing
    take   a script           queue -> `unacked` and its index, and returns the messages

A message of any size may be in a queue. The script makes one that is too large a dead letter.

The structures are kombu's own, so a stock worker requeues what a lost worker of ours had in
flight, and the other way round. Each message is recorded under a tag of ours, because a sender may
write any tag into the message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

import kombu.transport
import redis
from kombu.transport import redis as stock
from kombu.transport import virtual
from redis.exceptions import NoScriptError, OutOfMemoryError

from sentq.contract import BATCH_HEADER, DELIVERIES_HEADER, MAX_BYTES_PER_MESSAGE, TASK_NAME
from sentq.errors import MessageTooLarge, Undecryptable
from sentq.wire.batches import COMPLETE_BATCHES_KEY
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetterCode, dead_letter_fields
from sentq.wire.lua import load_script
from sentq.wire.scheduled import SCHEDULED_KEY
from sentq_worker.broker.at_maxmemory.clients import (
    PrefixedRepeatingRedis,
    RepeatingRedis,
    beyond_maxmemory,
)
from sentq_worker.broker.dead_letters import (
    DeadLetterTarget,
    dead_letter_and_log,
    dead_letter_unreadable,
)
from sentq_worker.broker.decompression import refusal_to_decompress
from sentq_worker.broker.delivery import count_key, job_id, lost_deliveries, read_counts
from sentq_worker.broker.intake.waiting import Look, MessageWait
from sentq_worker.broker.message import Envelope, read_envelope
from sentq_worker.broker.protocols import DeliveredMessage, Headers, RepeatingEventLoop
from sentq_worker.broker.qos import UnackedQoS, UnackedTags
from sentq_worker.garbage import CelerysGarbage

__all__ = ["Channel", "ChannelDelegate", "Transport", "install", "is_connection_error"]

logger = logging.getLogger(__name__)

#: The most bytes of a message beside its body. Celery needs less than a thousand.
_MAX_HEADER_BYTES: Final = 256 * 1024

#: A list that no message is in. A worker waits for it while Redis has no free memory.
_NO_QUEUE: Final = "sentq.no-queue"

#: The delay before Redis is asked again that refused a script (out of memory, read-only replica).
_REFUSED_PAUSE_S: Final = 1.0

#: A message that was taken: its tag, its queue, its bytes, and what they say; None if it is not a
#: Celery message. One is made for each message, so it is a plain tuple.
_Delivery = tuple[str, str, bytes, Envelope | None]

_TAKE: Final = load_script("sentq_worker.broker", "take_messages")

#: Transport options of ours.
_OPTIONS: Final = (
    "in_flight_bytes",
    "max_body_bytes",
    "idle_poll_s",
    "lease_timeout_s",
    "dead_letter_ttl_s",
    "dead_letter_max_bytes",
    "batch_ttl_s",
)


class ChannelDelegate(Protocol):
    """The consumer's side of a channel."""

    @property
    def worker(self) -> str:
        """The worker's name, as dead letters and reports show it."""
        ...

    def take_plain(self, envelope: Envelope, tag: str, /) -> bool:
        """Take a message that needs neither kombu nor Celery, recorded under a tag; return
        whether it was taken.

        Raises:
            Undecryptable: The message must become a dead letter.
        """
        ...

    def on_dead_letter(
        self, headers: Headers, reason: str, error: Exception | None = None, /
    ) -> None:
        """Called as a message becomes a dead letter that no consumer has seen."""
        ...

    def on_look(self, look: Look, /) -> None:
        """Called with what an idle channel has seen in Redis."""
        ...


class Channel(stock.Channel):
    """Takes messages from one Redis."""

    QoS = UnackedQoS
    from_transport_options = (*stock.Channel.from_transport_options, *_OPTIONS)

    #: The most bytes of messages in flight, beyond a first one. A transport option.
    in_flight_bytes = 512 * 1024

    #: The most bytes of a body, decoded. A larger one may reach a worker as long as its message has
    #: no more bytes than the largest body in base64, and headers. A transport option.
    max_body_bytes = MAX_BYTES_PER_MESSAGE

    #: How often an idle channel looks for messages in all queues. A transport option.
    idle_poll_s: float = 1.0

    #: How long a message stays with a worker that does not renew it. A transport option.
    lease_timeout_s: float = 30

    #: How long Redis keeps dead letters. A transport option.
    dead_letter_ttl_s = 14 * 24 * 60 * 60

    #: The most bytes of all dead letters. A transport option.
    dead_letter_max_bytes = 64 * 1024 * 1024

    #: How long Redis keeps batches; '' if they are in another one. A transport option.
    batch_ttl_s: int | str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tag_prefix = f"{os.getpid():x}-{os.urandom(6).hex()}-"
        self._takes = 0
        self._other_takes = 0
        #: The last command that was sent to take messages.
        self._take_command: tuple[object, ...] = ()
        self._is_waiting = False
        self._take_next = True
        self._not_before = 0.0
        self._lists: list[tuple[str, str]] = []
        self._delegate: ChannelDelegate | None = None
        #: The order in which queues are read: that in which they were first consumed, also after
        #: one was cancelled and added again.
        self._order: dict[str, int] = {}
        #: Queues whose messages are not acknowledged: the replies to `celery inspect`. Recorded in
        #: `unacked`, they would stay there, and be delivered again to readers that have ended.
        self._unacknowledged: set[str] = set()
        self._is_stock = False
        self._garbage = CelerysGarbage()
        super().__init__(*args, **kwargs)
        self._wait = MessageWait(self.idle_poll_s)

    def attach(self, delegate: ChannelDelegate) -> None:
        """Offer each message to this delegate first. Without one, all messages go through
        Celery."""
        self._delegate = delegate

    def look_from(self, loop: RepeatingEventLoop) -> None:
        """Look for messages in this loop from now on, while a long wait blocks the connection."""
        self._wait.has_looks_beside = True
        loop.call_repeatedly(self.idle_poll_s, self._look_beside_wait)

    @property
    def worker(self) -> str | None:
        """The name of the worker that uses this channel, once it is attached."""
        return self._delegate.worker if self._delegate else None

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:  # noqa: FBT001 - kombu's
        """Start to read a queue. Kombu calls this."""
        self._order.setdefault(queue, len(self._order))
        if no_ack:
            self._unacknowledged.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask Redis for messages if there may be some, else wait for one. Kombu calls this."""
        self._is_stock = not self._unacknowledged.isdisjoint(self.active_queues)
        if self._is_stock:
            super()._brpop_start(timeout)
            return
        queues = self._queues()
        if not queues:
            return
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = time.monotonic()
        self._is_waiting = not self._take_next or time.monotonic() < self._not_before
        if self._is_waiting:
            self._send_wait(connection, queues)
        else:
            self._send_take(connection, queues)

    def _brpop_read(self, **options: Any) -> Any:
        """Read the reply and deliver the messages that were taken. Kombu calls this.

        Raises:
            Empty: There were none.
        """
        if self._is_stock:
            return super()._brpop_read(**options)
        connection = self.client.connection
        try:
            if self._is_waiting:
                look = self._wait.read(connection)
                self._take_next = look is None or self._has_found(look)
                if not self._take_next or time.monotonic() < self._not_before:
                    raise virtual.Empty
                self._send_take(connection, self._queues())
            reply = self._read_taken(connection)
        except self.connection_errors:
            connection.disconnect()
            raise
        except redis.ResponseError as error:
            # Nothing has moved; it is tried again.
            logger.warning("Redis refuses to deliver jobs: %s", error)
            self._wait.work_seen()
            self._not_before = time.monotonic() + _REFUSED_PAUSE_S
            raise virtual.Empty from None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._wait.is_memory_full = reply == 0
        self._take_next = bool(reply)
        if not self._take_next:
            raise virtual.Empty
        self._wait.work_seen()
        taken, refused = reply
        self._deliver_all(self._taken(taken))
        for queue, size_bytes, *found in refused:
            self._on_too_large(
                queue, size_bytes, *(each.decode("ascii", "replace") for each in found)
            )
        return True

    def _get_client(self) -> Any:
        """Return what makes a client. Kombu calls this."""
        if self.global_keyprefix:
            return partial(PrefixedRepeatingRedis, global_keyprefix=self.global_keyprefix)
        return RepeatingRedis

    # A worker that declares its queues adds an entry for each one. It does so at `maxmemory` too:
    # to start is what frees memory.

    def _size(self, queue: str) -> int:
        with beyond_maxmemory():
            return int(super()._size(queue))

    def _queue_bind(self, *args: Any) -> None:
        with beyond_maxmemory():
            super()._queue_bind(*args)

    def _refresh_bindings(self, queues: Sequence[str]) -> None:
        # Kombu refreshes every second until it may. The bindings are there for an hour.
        with contextlib.suppress(OutOfMemoryError):
            super()._refresh_bindings(queues)

    def close(self) -> None:
        """Requeue the messages in flight and close."""
        self._end_wait()
        try:
            super().close()
        except self.connection_errors:
            # The connection broke as kombu read the last reply. Nothing is left to read, and the
            # messages can still be requeued, on another connection.
            super().close()

    def _queues(self) -> list[str]:
        queues = sorted(self.active_queues, key=self._order.__getitem__)
        return queues[:1] if self.qos.takes_first_queue_only else queues

    def _lists_of(self, queues: Sequence[str]) -> list[tuple[str, str]]:
        """Return the lists of queues in the order in which they are read, each with its queue."""
        return [(self._q_for_pri(q, p), q) for q in queues for p in self.priority_steps]

    def _send_wait(self, connection: Any, queues: Sequence[str]) -> None:
        if self.qos.has_messages:
            self._wait.work_seen()
        first = self.full_key(self._q_for_pri(queues[0], 0))
        self._wait.send(connection, first, self.full_key(_NO_QUEUE), self._look_keys(queues))

    def _end_wait(self) -> None:
        """End a wait that Redis has not answered, if there is one, by disconnecting. It has moved
        nothing."""
        if self._in_poll and self._is_waiting and not self._is_stock:
            self._in_poll.disconnect()
            self._in_poll = None

    def _look_beside_wait(self) -> None:
        if not self._in_poll or not self._is_waiting or not self._wait.is_long:
            return
        with self.conn_or_acquire() as client:
            look = Look.run(client, self._look_keys(self._queues()))
        if self._has_found(look):
            self._take_next = True
            self._end_wait()

    def _look_keys(self, queues: Sequence[str]) -> list[str]:
        lists = (name for name, _ in self._lists_of(queues))
        return [*map(self.full_key, (SCHEDULED_KEY, COMPLETE_BATCHES_KEY, *lists))]

    def _has_found(self, look: Look) -> bool:
        """Pass on what a look has found; return whether a queue has a message."""
        if self._delegate is not None:
            self._delegate.on_look(look)
        return look.has_message

    def _send_take(self, connection: Any, queues: Sequence[str]) -> None:
        self._takes += 1
        self._lists = self._lists_of(queues)
        lists = [key for key, _ in self._lists]
        keys = [self.unacked_key, self.unacked_index_key, DEAD_LETTERS_KEY, *lists]
        limits = [max(1, self.qos.credit()), self.in_flight_bytes, self.max_message_bytes]
        dead = [self.dead_letter_ttl_s, self.dead_letter_max_bytes, self.worker or ""]
        self._take_command = _TAKE.command(
            [*map(self.full_key, keys)],
            [self._prefix, *limits, *dead, self.batch_ttl_s, *(queue for _, queue in self._lists)],
        )
        connection.send_command(*self._take_command)

    def _read_taken(self, connection: Any) -> Any:
        """Read the reply to the script; load the script first if Redis does not have it."""
        try:
            return connection.read_response()
        except NoScriptError:
            # Redis has restarted, or another server took over. Nothing was run.
            connection.send_command(*_TAKE.load_command)
            connection.read_response()
            connection.send_command(*self._take_command)
            return connection.read_response()

    @property
    def max_message_bytes(self) -> int:
        """The most bytes of a message in Redis: of the largest body in base64, and of headers."""
        return _MAX_HEADER_BYTES + 4 * (self.max_body_bytes // 3 + 1)

    @property
    def _prefix(self) -> str:
        return f"{self._tag_prefix}{self._takes:x}-"

    def new_tag_prefix(self) -> str:
        """Return a prefix for the tags of messages that are taken out of their order."""
        self._other_takes += 1
        return f"{self._tag_prefix}s{self._other_takes:x}-"

    def deliver(self, messages: Sequence[tuple[str, bytes]], prefix: str) -> None:
        """Deliver messages that were taken out of their order.

        Args:
            messages: Each with its queue.
            prefix: What their tags begin with; a number from 0 follows.
        """
        taken = [(f"{prefix}{n}", queue, raw) for n, (queue, raw) in enumerate(messages)]
        for tag, _, raw in taken:
            self.qos.add(tag, len(raw))
        self._deliver_all(taken)

    def _deliver_all(self, taken: Iterable[tuple[str, str, bytes]]) -> None:
        """Deliver messages in order, each as soon as it is read. Of those that may have a count of
        lost deliveries, which come first as a rule, all neighbours are read before."""
        waiting: list[_Delivery] = []
        for tag, queue, raw in taken:
            envelope = read_envelope(raw)
            delivery = tag, queue, raw, envelope
            if envelope is not None and _may_have_count(envelope["headers"]):
                waiting.append(delivery)
                continue
            if waiting:
                self._deliver_with_counts(waiting)
                waiting = []
            self._deliver_one(delivery)
        self._deliver_with_counts(waiting)

    def _taken(self, reply: Sequence[Sequence[bytes]]) -> list[tuple[str, str, bytes]]:
        """Count the messages as in flight; return each with its tag and its queue."""
        qos, prefix, number = self.qos, self._prefix, 0
        taken = []
        for (_, queue), messages in zip(self._lists, reply, strict=True):
            for raw in messages:
                tag = f"{prefix}{number}"
                number += 1
                qos.add(tag, len(raw))
                taken.append((tag, queue, raw))
        return taken

    def _deliver_with_counts(self, deliveries: Sequence[_Delivery]) -> None:
        """Put counts of lost deliveries into the headers of messages, and deliver these."""
        if not deliveries:
            return
        found = [(tag, envelope) for tag, _, _, envelope in deliveries if envelope is not None]
        with self.conn_or_acquire() as client:
            read_counts(client, [envelope for _, envelope in found], self.full_key)
        for tag, envelope in found:
            if lost_deliveries(envelope["headers"]):
                self.qos.has_count(tag, self.full_key(count_key(envelope)))
        for delivery in deliveries:
            self._deliver_one(delivery)

    def _on_too_large(self, queue: bytes, size_bytes: int, found: str, place: str) -> None:
        """Fail the job of a message that the script has dead-lettered, if it names one."""
        reason = f"{size_bytes:,} bytes; the limit is {self.max_message_bytes:,} a message"
        if self._delegate is not None and found:
            error = MessageTooLarge(reason)
            headers = {"id": found, "task": TASK_NAME, BATCH_HEADER: place}
            self._delegate.on_dead_letter(headers, reason, error)
        logger.error(
            "a message of %d bytes became a dead letter: it is too large (%s)",
            size_bytes,
            queue.decode("utf-8", "replace"),
        )

    def _deliver_one(self, delivery: _Delivery) -> None:
        tag, queue, raw, envelope = delivery
        if envelope is None:
            self.dead_letter(tag, raw, "it is not a Celery message", queue=queue)
            return
        delegate, reason = self._delegate, None
        if len(raw) - len(envelope["body"]) > _MAX_HEADER_BYTES:
            reason = f"the headers are larger than {_MAX_HEADER_BYTES:,} bytes"
        else:
            try:
                if delegate is not None and delegate.take_plain(envelope, tag):
                    return
            except Undecryptable as error:
                self._dead_letter_undecryptable(tag, queue, raw, envelope["headers"], error)
                return
        self._garbage.add(len(raw))
        reason = reason or refusal_to_decompress(envelope, MAX_BYTES_PER_MESSAGE)
        if reason is None:
            # A sender may have written any value here.
            envelope["properties"]["delivery_tag"] = tag
            envelope["properties"]["delivery_info"]["routing_key"] = queue
            try:
                # As kombu's own channel does.
                self.connection._deliver(envelope, queue)  # noqa: SLF001
            except Exception as error:
                if is_connection_error(error, self.connection_errors):
                    raise
                reason = f"{type(error).__name__} while the message was delivered"
        if reason is not None:
            headers = envelope["headers"]
            if delegate is not None:
                delegate.on_dead_letter(headers, reason)
            self.dead_letter(tag, raw, reason, headers=headers, queue=queue)

    def _dead_letter_undecryptable(
        self, tag: str, queue: str, raw: bytes, headers: Headers, error: Undecryptable
    ) -> None:
        reason, code = str(error), DeadLetterCode.UNDECRYPTABLE
        if self._delegate is not None:
            self._delegate.on_dead_letter(headers, reason, error)
        self.dead_letter(tag, raw, reason, code=code, headers=headers, queue=queue)

    @property
    def unacked_keys(self) -> tuple[str, str]:
        """The keys of the hash of unacknowledged messages, and of its index."""
        return self.full_key(self.unacked_key), self.full_key(self.unacked_index_key)

    def unacked_tags(self, tags: Sequence[str]) -> UnackedTags:
        """Return these tags and their keys. They acknowledge on any connection to this Redis."""
        return UnackedTags(*self.unacked_keys, tags)

    def origin_of(self, message: DeliveredMessage) -> tuple[str, str]:
        """Return the queue from which this channel took a message, and the key of its list."""
        queue = str(message.delivery_info["routing_key"])
        priority = self._get_message_priority(message._raw, reverse=False)  # noqa: SLF001
        return queue, self.full_key(self._q_for_pri(queue, priority))

    def shares_redis(self, connection_options: Mapping[str, object]) -> bool:
        """Return whether a client with these options connects to the Redis of this channel."""
        ours = self._connparams()
        return all(
            str(ours.get(name)) == str(connection_options.get(name))
            for name in ("host", "port", "path", "db")
        )

    def own_client(self) -> redis.Redis:
        """Return a client with connections of its own, for another thread. It adds no prefix to
        keys."""
        return redis.Redis(connection_pool=self._get_pool())

    def dead_letter(
        self,
        tag: str,
        raw: bytes,
        reason: str,
        *,
        code: DeadLetterCode = DeadLetterCode.MALFORMED,
        headers: Headers = MappingProxyType({}),
        queue: str | None = None,
    ) -> None:
        """Make a message that cannot be processed a dead letter.

        Args:
            tag: The tag under which it is recorded.
            raw: The message.
            reason: Why, in words that quote no text. It is logged.
            code: The kind of reason.
            headers: The headers of the message, as far as they can be read.
            queue: The queue that it was taken from.
        """
        fields = dead_letter_fields(
            code=code,
            reason=reason,
            message=raw,
            job_id=job_id(headers),
            deliveries=1 + lost_deliveries(headers),
            worker=self.worker,
            queue=queue,
        )
        with self.conn_or_acquire() as client:
            target, size_bytes = self.dead_letter_target(), len(raw)
            dead_letter_and_log(client, target, tag, fields, reason=reason, size_bytes=size_bytes)
        self.release(tag)

    def dead_letter_unreadable(self, tag: str, raw: bytes) -> None:
        """Make a message a dead letter whose entry in `unacked` cannot be read."""
        with self.conn_or_acquire() as client:
            dead_letter_unreadable(client, self.dead_letter_target(), tag, raw)
        self.release(tag)

    def release(self, tag: str) -> None:
        """Count a message as in flight no longer: it is no longer recorded under this tag."""
        self.qos.release([tag])
        virtual.QoS.ack(self.qos, tag)

    def dead_letter_target(self, *, timeout_s: float | None = None) -> DeadLetterTarget:
        """Return where messages are dead-lettered to; with `timeout_s`, only those whose leases
        were not renewed for so many seconds."""
        return DeadLetterTarget(
            self.full_key(self.unacked_key),
            self.full_key(self.unacked_index_key),
            self.full_key(DEAD_LETTERS_KEY),
            self.dead_letter_ttl_s,
            self.dead_letter_max_bytes,
            timeout_s,
        )

    def full_key(self, name: str) -> str:
        """Return a key with its prefix, for commands that kombu does not prefix itself."""
        return f"{self.global_keyprefix}{name}"


class SentinelChannel(Channel, stock.SentinelChannel):
    """Takes messages from the Redis that Sentinel names."""

    from_transport_options = (*stock.SentinelChannel.from_transport_options, *_OPTIONS)

    def shares_redis(self, connection_options: Mapping[str, object]) -> bool:
        """Return whether a client with these options asks the same Sentinel: the transport options
        name one master for both."""
        hosts = connection_options.get("hosts")
        return isinstance(hosts, list) and super().shares_redis(hosts[0])

    def own_client(self) -> redis.Redis:
        """Return a client with connections of its own, for another thread. It adds no prefix to
        keys."""
        kept = vars(self).get("_sentinel_manager")
        try:
            return super().own_client()
        finally:
            self._sentinel_manager = kept  # Kombu closes it with the channel.


class Transport(stock.Transport):
    """Kombu's Redis transport with our channels."""

    Channel = Channel


class SentinelTransport(stock.SentinelTransport):
    """Kombu's transport for Redis behind Sentinel with our channels."""

    Channel = SentinelChannel


def _may_have_count(headers: Headers) -> bool:
    """Return whether lost deliveries of a message may have been counted. A sender may claim it,
    by any header of these."""
    return "redelivered" in headers or DELIVERIES_HEADER in headers


def is_connection_error(
    error: Exception, connection_errors: tuple[type[BaseException], ...]
) -> bool:
    """Return whether an error is one of the connection. Kombu counts each KeyError among these,
    and a message that lacks a header raises one."""
    return isinstance(error, connection_errors) and not isinstance(error, KeyError)


def install() -> None:
    """Make this process use these transports for all URLs of Redis."""
    ours = {
        "redis": f"{__name__}:Transport",
        "rediss": f"{__name__}:Transport",
        "sentinel": f"{__name__}:SentinelTransport",
    }
    kombu.transport.TRANSPORT_ALIASES.update(ours)
    for alias in ours:  # Kombu may have looked one up already.
        kombu.transport._transport_cache.pop(alias, None)  # noqa: SLF001
