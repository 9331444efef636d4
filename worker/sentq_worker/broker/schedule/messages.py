"""The messages of scheduled jobs in Redis. Each step is one script, so none is lost between two.

    schedule      unacked -> sentq.scheduled, as a worker meets a job with an eta
    queue_due     sentq.scheduled -> the queue, when the job is due
    take          sentq.scheduled -> unacked, when the job was cancelled

All of it goes by Redis' clock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sentq.wire.lua import load_script
from sentq.wire.scheduled import SCHEDULED_KEY, SCHEDULED_MESSAGES_KEY
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.protocols import DeliveredMessage

__all__ = ["ScheduleLimits", "ScheduleReply", "ScheduledMessages", "TakenMessages"]

logger = logging.getLogger(__name__)

#: How many messages return to their queues in one step.
_STEP_MESSAGES: Final = 100

#: The delay after which a message is tried again whose queue is not a list.
_POSTPONE_MS: Final = 60_000

#: How many ids are looked up in one step, and how many messages, and bytes, are taken. Each is
#: delivered at once, so this also bounds how long the event loop is busy.
_STEP_IDS: Final = 500
_STEP_TAKEN: Final = 20
_STEP_TAKEN_BYTES: Final = 1024 * 1024

_SCHEDULE: Final = load_script("sentq_worker.broker", "schedule_message")
_QUEUE_DUE: Final = load_script("sentq_worker.broker", "queue_due_messages")
_TAKE: Final = load_script("sentq_worker.broker", "take_scheduled_messages")


class ScheduleLimits(NamedTuple):
    """How much may be scheduled.

    Attributes:
        max_jobs: The most scheduled jobs.
        max_bytes: The most bytes of their messages.
    """

    max_jobs: int
    max_bytes: int


class ScheduleReply(StrEnum):
    """What became of a message that was to be scheduled. See the script."""

    SCHEDULED = "scheduled"
    DUE = "due"
    GONE = "gone"
    TOO_MANY_JOBS = "too many jobs"
    TOO_MANY_BYTES = "too many bytes"


class TakenMessages(NamedTuple):
    """Messages that were taken out of the schedule, and are unacknowledged now.

    Attributes:
        ids: How many ids were looked up.
        messages: Each with its queue.
        prefix: What their tags begin with.
    """

    ids: int
    messages: Sequence[tuple[str, bytes]]
    prefix: str


class ScheduledMessages:
    """The scheduled messages of one channel's Redis.

    Args:
        channel: Delivers the messages of this worker.
        limits: How much may be scheduled.

    Raises, from each method:
        redis.RedisError: All, or nothing, was done.
    """

    def __init__(self, channel: Channel, limits: ScheduleLimits) -> None:
        self._channel = channel
        self._limits = limits

    def schedule(self, message: DeliveredMessage, job_id: str, due_ms: int) -> ScheduleReply:
        """Move a message that this channel delivers into the schedule, unless its job is due.

        It counts as in flight no longer if it is scheduled, or gone: another worker has it.
        """
        channel, tag = self._channel, message.delivery_tag
        queue, key = channel.origin_of(message)
        limits = (self._limits.max_jobs, self._limits.max_bytes)
        arguments = [tag, job_id, due_ms, key, queue, *limits]
        keys = [*channel.unacked_keys, *self._keys]
        with channel.conn_or_acquire() as client:
            reply = ScheduleReply(_SCHEDULE.run(client, keys, arguments).decode())
        if reply in {ScheduleReply.SCHEDULED, ScheduleReply.GONE}:
            channel.release(tag)
            message._state = "REJECTED"  # noqa: SLF001 - removed above, or by another worker
        return reply

    def queue_due(self) -> float | None:
        """Move messages that are due into their queues; return in how many seconds the next one
        is due, 0 if more are due now, or None without scheduled jobs."""
        with self._channel.conn_or_acquire() as client:
            arguments = [_STEP_MESSAGES, _POSTPONE_MS]
            moved, postponed, next_ms = _QUEUE_DUE.run(client, self._keys, arguments)
        if moved:
            logger.debug("%d scheduled jobs are due", moved)
        if postponed:
            logger.warning("%d scheduled jobs cannot be queued: a queue is not a list", postponed)
        return None if next_ms < 0 else next_ms / 1000

    def take(self, ids: Sequence[str]) -> TakenMessages:
        """Take some messages out of the schedule, by the ids of their jobs. Those of queues that
        this worker does not read stay there, for workers that do."""
        prefix = self._channel.new_tag_prefix()
        keys = [*self._channel.unacked_keys, *self._keys]
        queues = [*self._channel.active_queues]
        limits = [_STEP_TAKEN, _STEP_TAKEN_BYTES]
        arguments = [prefix, *limits, len(queues), *queues, *ids[:_STEP_IDS]]
        with self._channel.conn_or_acquire() as client:
            looked_at, taken = _TAKE.run(client, keys, arguments)
        pairs = zip(taken[::2], taken[1::2], strict=True)
        return TakenMessages(looked_at, [(queue.decode(), raw) for queue, raw in pairs], prefix)

    def deliver(self, taken: TakenMessages) -> None:
        """Deliver messages that were taken."""
        self._channel.deliver(taken.messages, taken.prefix)

    def first(self, count: int) -> Iterator[tuple[str, float]]:
        """Yield the ids of the jobs that are due first, and when they are, in Unix seconds."""
        with self._channel.conn_or_acquire() as client:
            # Kombu's client adds its prefix to this key.
            found: Any = client.zrange(SCHEDULED_KEY, 0, count - 1, withscores=True)
        for name, due_ms in found:
            yield name.decode().partition(" ")[0], due_ms / 1000

    @property
    def _keys(self) -> tuple[str, str]:
        full_key = self._channel.full_key
        return full_key(SCHEDULED_KEY), full_key(SCHEDULED_MESSAGES_KEY)
