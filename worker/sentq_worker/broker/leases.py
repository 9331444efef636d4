"""Leases: the jobs in flight stay with their worker while it lives, and go to another if not.

All of it goes by Redis' clock, in a thread and on a connection of its own. So a long batch does
not keep a worker from renewing, and a wrong clock of one host does not take jobs from another.
Kombu's own way of restoring goes by the worker's clock. It is off in our channels
(`UnackedQoS.restore_visible`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

import redis

from sentq_worker.broker.channel import Channel
from sentq_worker.broker.dead_letters import trim_dead_letters
from sentq_worker.broker.reaper import LeaseReaper, RedisReading
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.broker.results import ResultStore
from sentq_worker.clock import WorkerClock
from sentq_worker.monitoring.job_counts import JobCounts, Redelivery
from sentq_worker.reports.heartbeat import HeartbeatWriter

__all__ = ["Leases"]

logger = logging.getLogger(__name__)

#: The delay after which a tick is tried again if Redis did not answer.
_RETRY_S: Final = 0.5

#: How often a worker reports, and asks for cancelled jobs and callbacks, in ticks while it has no
#: job: each command of an idle worker costs money where Redis is metered.
_TICKS_WHILE_IDLE: Final = 2

#: How often a worker removes dead letters that are too old or too many.
_TRIM_INTERVAL_S: Final = 15.0

#: How long a worker that ends waits until its report is removed.
_END_S: Final = 0.5


class Leases:
    """Renews the leases of this process, and reclaims expired ones of others. Lives as long as
    the worker.

    Args:
        store: Stores the results of jobs that become dead letters.
        heartbeat: Writes the worker's report with each tick.
        clock: Is set with each tick, if results are in the Redis of the messages.
        poll_revocations: Called with each tick; learns of cancelled jobs.
        publish_callbacks: Called with each tick; publishes the callbacks of complete batches.
        polls: Called with each tick, with a connection to the broker and the prefix of all keys.
        counts: Counts the jobs of lost workers that this one requeues.
        may_renew: Tells whether this worker still completes jobs. While it does not, nothing is
            renewed, so that other workers get its jobs.
    """

    def __init__(
        self,
        store: ResultStore,
        heartbeat: HeartbeatWriter,
        clock: WorkerClock,
        *,
        poll_revocations: Callable[[], object],
        publish_callbacks: Callable[[], object] = lambda: None,
        polls: Sequence[Callable[[redis.Redis, str], object]] = (),
        may_renew: Callable[[], bool] = lambda: True,
        counts: JobCounts | None = None,
    ) -> None:
        self._counts = counts or JobCounts()
        self._store = store
        self._clock = clock
        self._heartbeat = heartbeat
        self._poll_revocations = poll_revocations
        self._publish_callbacks = publish_callbacks
        self._polls = polls
        self._may_renew = may_renew
        #: Whether Redis did not answer at the last tick.
        self.is_redis_away = False
        #: When Redis last answered, by the monotonic clock; None before the first tick.
        self.answered_at: float | None = None
        self._reaper: LeaseReaper | None = None
        self._thread: threading.Thread | None = None
        self._has_ended = threading.Event()
        self._last_reading: RedisReading | None = None
        self._trim_at = 0.0
        self._ticks = 0

    def attach(
        self,
        channel: Channel,
        *,
        in_flight_tags: Callable[[], Collection[str]],
        on_reclaimed: Callable[[Collection[str]], object],
    ) -> None:
        """Go on with the channel of a new connection.

        Jobs that the last connection delivered stay with this worker if they are still in flight;
        the others are requeued.

        Args:
            channel: Takes the jobs from now on.
            in_flight_tags: Returns the tags of jobs that can be completed without the connection
                that delivered them.
            on_reclaimed: Called, in the thread of the leases, with tags under which nothing is
                recorded any more: other workers have reclaimed these jobs, unless the jobs have
                just been completed.
        """
        channel.qos.kept_tags = lambda: () if self._has_ended.is_set() else in_flight_tags()
        is_one_redis = channel.shares_redis(self._store.connection_options)
        recovery = LostJobRecovery(channel, self._store)
        clock = self._clock if is_one_redis else None
        on_requeued = partial(self._counts.add_redeliveries, Redelivery.LEASE_EXPIRED)
        reaper = LeaseReaper(channel, recovery, clock, on_reclaimed, on_requeued)
        before = self._reaper
        if before is not None:
            reaper.not_before = before.not_before
        self._reaper = reaper
        if before is not None:
            channel.qos.adopt(before.channel.qos)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sentq-leases", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop renewing. From now on the jobs in flight are requeued as their connection closes,
        and at once if it has closed already."""
        self._has_ended.set()
        channel = self._reaper.channel if self._reaper else None
        if channel is not None and channel.closed:
            with contextlib.suppress(redis.RedisError, OSError):  # Then their leases expire.
                channel.qos.restore_unacked(channel.own_client())
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        delay_s = 0.0
        while not self._has_ended.wait(delay_s):
            reaper = self._reaper
            if reaper is None:
                return
            if not self._may_renew():
                delay_s = reaper.tick_s
                continue
            try:
                self._tick(reaper)
                delay_s, self.is_redis_away = reaper.tick_s, False
                self.answered_at = time.monotonic()
            except Exception as error:  # noqa: BLE001 - the next tick may succeed
                # Only the class: a message might quote a text.
                if not self.is_redis_away:
                    logger.warning("leases cannot be renewed now (%s)", type(error).__name__)
                delay_s, self.is_redis_away = min(reaper.tick_s, _RETRY_S), True
                reaper.disconnect()
        if self._reaper is not None and not self.is_redis_away:
            with contextlib.suppress(redis.RedisError):  # It expires by itself.
                self._heartbeat.withdraw(self._reaper.channel, self._reaper.connection)

    def _tick(self, reaper: LeaseReaper) -> None:
        self._last_reading = reading = reaper.tick(self._last_reading)
        self._ticks += 1
        if not reaper.channel.qos.has_messages and self._ticks % _TICKS_WHILE_IDLE != 1:
            return
        self._heartbeat.write(
            reaper.channel, reaper.connection, now_s=reading.redis_s, tick_s=reaper.tick_s
        )
        self._poll_revocations()
        self._publish_callbacks()
        for poll in self._polls:
            poll(reaper.connection, reaper.channel.full_key(""))
        if time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + _TRIM_INTERVAL_S
            trim_dead_letters(reaper.connection, reaper.channel.dead_letter_target())
