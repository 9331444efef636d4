"""One tick of a worker's leases: renew what it holds, and give back what nobody renews.

    renew and look   one script, by Redis' clock
    give back        another, of what still has lapsed then (`lost`)

While Redis was away nobody could renew. Whoever finds it again after long renews at first, and
takes what lapsed a little later, so that owners come before heirs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from sentq.wire.lua import load_script
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.clock import WorkerClock

__all__ = ["LastContact", "LeaseReaper"]

logger = logging.getLogger(__name__)

_MAX_TICK_S: Final = 2.0
_TICKS_IN_TIMEOUT: Final = 5

#: Out of touch for this part of the time-out, a worker lets owners go first. They have renewed a
#: tick before that, so their leases have not lapsed yet.
_OUT_OF_TOUCH: Final = 0.5

#: How long owners are waited for: a tick that failed, its time-outs, and another.
_OWNERS_FIRST_S: Final = 5.0

#: How a delivery ended whose lease lapsed.
_LAPSED: Final = "the worker was lost"

#: What is looked at in one step, and the most bytes that it returns, beyond a first message.
_LOOK_AT: Final = 100
_LOOK_BYTES: Final = 4 * 1024 * 1024

#: What is looked at, and collected, in one tick. The rest stays for the next one.
_SWEEP_AT_MOST: Final = 2000
_SWEEP_BYTES: Final = 32 * 1024 * 1024

_RENEW_AND_FIND_EXPIRED: Final = load_script("sentq_worker.broker", "renew_and_find_expired")


class LastContact(NamedTuple):
    """When Redis answered: by its own clock, and by the one that only goes on."""

    redis_s: float
    at: float

    def differs_s(self, other: LastContact) -> float:
        """By how much one clock moved more than the other."""
        return abs((self.redis_s - other.redis_s) - (self.at - other.at))


class _Found(NamedTuple):
    """What one step found: see the script."""

    redis_s: float
    gone: set[str]
    looked_at: int
    lapsed: list[tuple[str, bytes]]

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return sum(len(raw) for _, raw in self.lapsed)


class LeaseReaper:
    """The ticks on one channel's Redis."""

    def __init__(
        self,
        channel: Channel,
        lost: LostJobRecovery,
        clock: WorkerClock | None,
        forget: Callable[[Collection[str]], object],
    ) -> None:
        self.channel = channel
        self.connection = channel.own_client()
        self._lost = lost
        self._clock = clock
        self._forget = forget
        self._timeout_s = channel.lease_timeout_s
        self.tick_s = min(_MAX_TICK_S, self._timeout_s / _TICKS_IN_TIMEOUT)
        #: Owners go first until then, by monotonic time.
        self.not_before = 0.0

    def tick(self, touched: LastContact | None) -> LastContact:
        """Renew, and sweep unless owners go first.

        Args:
            touched: When Redis last answered.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        began_at = time.monotonic()
        if touched is None or began_at - touched.at > self._timeout_s * _OUT_OF_TOUCH:
            self.not_before = began_at + _OWNERS_FIRST_S
        look_at = _LOOK_AT if began_at >= self.not_before else 0
        found = self._renew_and_look(self.channel.qos.tags(), look_at, 0)
        now = LastContact(found.redis_s, time.monotonic())
        if found.gone:
            self._forget(found.gone)
        if self._clock is not None:
            self._clock.set(now.redis_s, asked_at_s=began_at, answered_at_s=now.at)
        if touched is not None and now.differs_s(touched) > self._timeout_s * _OUT_OF_TOUCH:
            # Redis' clock was set, and every lease may look as if it had lapsed.
            self.not_before = now.at + _OWNERS_FIRST_S
            return now
        lapsed, passed_over, size_bytes = found.lapsed, found.looked_at, found.size_bytes
        while found.looked_at and passed_over < _SWEEP_AT_MOST and size_bytes < _SWEEP_BYTES:
            found = self._renew_and_look([], _LOOK_AT, passed_over)
            passed_over += found.looked_at
            size_bytes += found.size_bytes
            lapsed = [*lapsed, *found.lapsed]
        self._requeue(lapsed, until=began_at + self.tick_s)
        return now

    def disconnect(self) -> None:
        """Connect anew for the next tick: Sentinel may know another master."""
        self.connection.connection_pool.disconnect()

    def _renew_and_look(self, tags: Sequence[str], limit: int, passed_over: int) -> _Found:
        places, ends = self.channel.ack_handles(tags), _ends(self.channel.active_queues)
        reply: list[Any] = _RENEW_AND_FIND_EXPIRED.run(
            self.connection,
            [places.unacked_key, places.index_key],
            [self._timeout_s, limit, passed_over, _LOOK_BYTES, len(ends), *ends, *tags],
        )
        redis_s, gone, looked_at, found = reply
        names = [tag.decode() for tag in found[::2]]
        lapsed = list(zip(names, found[1::2], strict=True))
        return _Found(float(redis_s), {tag.decode() for tag in gone}, looked_at, lapsed)

    def _requeue(self, lapsed: Sequence[tuple[str, bytes]], *, until: float) -> None:
        """Give back what was taken last first: so the first comes to stand at the head."""
        in_order = sorted(lapsed, key=lambda entry: _order(entry[0]))
        count = 0
        while in_order and (not count or time.monotonic() < until):
            last, in_order = in_order[-_LOOK_AT:], in_order[:-_LOOK_AT]
            count += self._lost.requeue(self.connection, last, _LAPSED, timeout_s=self._timeout_s)
        if count:
            logger.warning("%d jobs of workers that were lost went back to the queue", count)


def _ends(queues: Sequence[str]) -> list[str]:
    """How the entries of messages from these queues end. Kombu escapes what is not ASCII; the
    script that takes does not, but escapes slashes."""
    names = {json.dumps(queue) for queue in queues}
    names |= {json.dumps(queue, ensure_ascii=False).replace("/", "\\/") for queue in queues}
    return [f"{name}]" for name in sorted(names)]


def _order(tag: str) -> tuple[str, int, int]:
    """Sorts tags of ours by worker, and by when they were taken. See `Channel`."""
    prefix, _, rest = tag.rpartition("-")
    prefix, _, takes = prefix.rpartition("-")
    try:
        return prefix, int(takes, 16), int(rest)
    except ValueError:
        return tag, 0, 0
