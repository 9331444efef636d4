"""One tick of a worker's leases: renew its own, and reclaim expired ones of other workers.

    renew and find   one script, by Redis' clock
    reclaim          another, for leases that have still expired by then (`recovery`)

While Redis was away, no worker could renew. So a worker that has been disconnected for long renews
at first, and reclaims a little later: holders renew before others reclaim.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from sentq.wire.lua import load_script
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.clock import WorkerClock

__all__ = ["LeaseReaper", "RedisReading"]

logger = logging.getLogger(__name__)

_MAX_TICK_S: Final = 2.0
_TICKS_IN_TIMEOUT: Final = 5

#: A worker that was disconnected for this part of the time-out lets holders renew first. They have
#: renewed a tick before that, so their leases have not expired yet.
_DISCONNECTED_PART: Final = 0.5

#: How long holders may take to renew: a tick that failed, its time-outs, and another.
_HOLDERS_FIRST_S: Final = 5.0

#: How a delivery ended whose lease expired.
_LEASE_EXPIRED: Final = "the worker was lost"

#: How many leases are checked in one step, and the most bytes that it returns, beyond a first
#: message.
_STEP_LEASES: Final = 100
_STEP_BYTES: Final = 4 * 1024 * 1024

#: How many leases are checked, and how many bytes collected, in one tick. The rest waits for the
#: next one.
_TICK_LEASES: Final = 2000
_TICK_BYTES: Final = 32 * 1024 * 1024

_RENEW_AND_FIND_EXPIRED: Final = load_script("sentq_worker.broker", "renew_and_find_expired")


class RedisReading(NamedTuple):
    """When Redis answered: by its own clock, and by the monotonic one of this host."""

    redis_s: float
    monotonic_s: float

    def drift_s(self, other: RedisReading) -> float:
        """Return by how much one clock moved more than the other."""
        return abs((self.redis_s - other.redis_s) - (self.monotonic_s - other.monotonic_s))


class _Found(NamedTuple):
    """What one step found: see the script.

    Attributes:
        redis_s: Redis' time.
        reclaimed: Tags that were to be renewed, and are no longer recorded.
        checked: How many expired leases were checked.
        expired: The tags and entries of expired leases.
    """

    redis_s: float
    reclaimed: set[str]
    checked: int
    expired: list[tuple[str, bytes]]

    @property
    def size_bytes(self) -> int:
        """The size of the entries."""
        return sum(len(raw) for _, raw in self.expired)


class LeaseReaper:
    """The ticks on one channel's Redis.

    Args:
        channel: Takes the jobs of this worker.
        recovery: Requeues the jobs of expired leases.
        clock: Is set with each tick; None leaves it alone.
        on_reclaimed: Called with tags of this worker that other workers have reclaimed.
        on_requeued: Called with the number of jobs of lost workers that were requeued.
    """

    def __init__(
        self,
        channel: Channel,
        recovery: LostJobRecovery,
        clock: WorkerClock | None,
        on_reclaimed: Callable[[Collection[str]], object],
        on_requeued: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._on_requeued = on_requeued
        self.channel = channel
        self.connection = channel.own_client()
        self._recovery = recovery
        self._clock = clock
        self._on_reclaimed = on_reclaimed
        self._timeout_s = channel.lease_timeout_s
        self.tick_s = min(_MAX_TICK_S, self._timeout_s / _TICKS_IN_TIMEOUT)
        #: Nothing is reclaimed until then, by monotonic time.
        self.not_before = 0.0

    def tick(self, last: RedisReading | None) -> RedisReading:
        """Renew, and reclaim unless holders go first.

        Args:
            last: When Redis last answered.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        began_at, limit_s = time.monotonic(), self._timeout_s * _DISCONNECTED_PART
        if last is None or began_at - last.monotonic_s > limit_s:
            self.not_before = began_at + _HOLDERS_FIRST_S
        step_leases = _STEP_LEASES if began_at >= self.not_before else 0
        found = self._renew_and_find(self.channel.qos.tags(), step_leases, skipped=0)
        now = RedisReading(found.redis_s, time.monotonic())
        if found.reclaimed:
            self._on_reclaimed(found.reclaimed)
        if self._clock is not None:
            self._clock.set(now.redis_s, asked_at_s=began_at, answered_at_s=now.monotonic_s)
        if last is not None and now.drift_s(last) > limit_s:
            # Redis' clock was set, so each lease may look as if it had expired.
            self.not_before = now.monotonic_s + _HOLDERS_FIRST_S
            return now
        self._reclaim(self._find_more(found), until=began_at + self.tick_s)
        return now

    def disconnect(self) -> None:
        """Disconnect, so that the next tick connects anew: Sentinel may know another master."""
        self.connection.connection_pool.disconnect()

    def _find_more(self, found: _Found) -> list[tuple[str, bytes]]:
        """Return the expired leases of a first step and of further ones."""
        expired, checked, size_bytes = found.expired, found.checked, found.size_bytes
        while found.checked and checked < _TICK_LEASES and size_bytes < _TICK_BYTES:
            found = self._renew_and_find([], _STEP_LEASES, skipped=checked)
            checked += found.checked
            size_bytes += found.size_bytes
            expired = [*expired, *found.expired]
        return expired

    def _renew_and_find(self, tags: Sequence[str], limit: int, *, skipped: int) -> _Found:
        unacked = self.channel.unacked_tags(tags)
        endings = _entry_endings(self.channel.active_queues)
        redis_s, reclaimed, checked, found = _RENEW_AND_FIND_EXPIRED.run(
            self.connection,
            [unacked.unacked_key, unacked.index_key],
            [self._timeout_s, limit, skipped, _STEP_BYTES, len(endings), *endings, *tags],
        )
        names = [tag.decode() for tag in found[::2]]
        expired = list(zip(names, found[1::2], strict=True))
        return _Found(float(redis_s), {tag.decode() for tag in reclaimed}, checked, expired)

    def _reclaim(self, expired: Sequence[tuple[str, bytes]], *, until: float) -> None:
        """Requeue the jobs that were taken last first: so the first one comes to the head."""
        in_order, error = sorted(expired, key=lambda entry: _order(entry[0])), _LEASE_EXPIRED
        count = 0
        while in_order and (not count or time.monotonic() < until):
            last, in_order = in_order[-_STEP_LEASES:], in_order[:-_STEP_LEASES]
            timeout_s = self._timeout_s
            count += self._recovery.requeue(self.connection, last, error, timeout_s=timeout_s)
        if count:
            self._on_requeued(count)
            logger.warning("%d jobs of workers that were lost went back to the queue", count)


def _entry_endings(queues: Sequence[str]) -> list[str]:
    """Return how the entries of messages from these queues end. Kombu escapes what is not ASCII;
    the script that takes messages does not, but escapes slashes."""
    names = {json.dumps(queue) for queue in queues}
    names |= {json.dumps(queue, ensure_ascii=False).replace("/", "\\/") for queue in queues}
    return [f"{name}]" for name in sorted(names)]


def _order(tag: str) -> tuple[str, int, int]:
    """Return a key that sorts our tags by worker, and by when they were taken. See `Channel`."""
    prefix, _, rest = tag.rpartition("-")
    prefix, _, takes = prefix.rpartition("-")
    try:
        return prefix, int(takes, 16), int(rest)
    except ValueError:
        return tag, 0, 0
