"""Leases: what a worker holds stays its own while it lives, and goes to another when it does not.

All of it goes by Redis' clock, in a thread and on a connection of their own: a long batch does
not keep a worker from renewing, nor does a clock that is wrong rob another. Kombu's own way of
restoring, which goes by the worker's clock, is off in our channels (`UnackedQoS.restore_visible`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

import redis

from sentq_worker.broker.channel import Channel
from sentq_worker.broker.heartbeat import HeartbeatWriter
from sentq_worker.broker.reaper import LastContact, LeaseReaper
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.broker.results import ResultStore
from sentq_worker.clock import WorkerClock

__all__ = ["Leases"]

logger = logging.getLogger(__name__)

#: How soon to try again when Redis did not answer.
_RETRY_S: Final = 0.5

#: How long a worker that ends waits for its report to go.
_END_S: Final = 0.5


class Leases:
    """Renews what this process holds, and sweeps up what others no longer do. Lives as long as
    the worker.

    Args:
        store: Keeps the outcomes of jobs that are buried.
        reporter: Writes, with each tick, how the worker is doing.
        clock: Is set with each tick, where outcomes lie in the Redis of messages.
        poll_revocations: Called with each tick; learns of cancelled jobs.
    """

    def __init__(
        self,
        store: ResultStore,
        reporter: HeartbeatWriter,
        clock: WorkerClock,
        *,
        poll_revocations: Callable[[], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._poll_revocations = poll_revocations
        self._reaper: LeaseReaper | None = None
        self._thread: threading.Thread | None = None
        self._has_ended = threading.Event()
        self._touched: LastContact | None = None

    def attach(
        self,
        channel: Channel,
        *,
        in_flight_tags: Callable[[], Collection[str]],
        on_reclaimed: Callable[[Collection[str]], object],
    ) -> None:
        """Go on with the channel of a new connection.

        What the last one delivered stays ours as far as it is in hand; the rest goes back.

        Args:
            channel: Takes the jobs from now on.
            in_hand: Says under which tags jobs are noted that can be finished without the
                connection that delivered them.
            on_reclaimed: Called, in the thread of the leases, with tags under which nothing is
                recorded any more: other workers have reclaimed these jobs, unless the jobs have
                just been completed.
        """
        channel.qos.kept_tags = lambda: () if self._has_ended.is_set() else in_flight_tags()
        is_one_redis = channel.shares_redis(self._store.connection_options)
        lost, clock = LostJobRecovery(channel, self._store), self._clock if is_one_redis else None
        before, reaper = self._reaper, LeaseReaper(channel, lost, clock, on_reclaimed)
        if before is not None:
            reaper.not_before = before.not_before
        self._reaper = reaper
        if before is not None:
            channel.qos.adopt(before.channel.qos)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sentq-leases", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Renew no longer: from now on whatever is held goes back as its connection closes, and
        at once where it has closed already."""
        self._has_ended.set()
        channel = self._reaper.channel if self._reaper else None
        if channel is not None and channel.closed:
            with contextlib.suppress(redis.RedisError, OSError):  # Then their leases lapse.
                channel.qos.restore_unacked(channel.own_client())
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        is_away, delay_s = False, 0.0
        while not self._has_ended.wait(delay_s):
            reaper = self._reaper
            if reaper is None:
                return
            try:
                self._touched = reaper.tick(self._touched)
                told = {"now_s": self._touched.redis_s, "tick_s": reaper.tick_s}
                self._reporter.write(reaper.channel, reaper.connection, **told)
                self._poll_revocations()
                delay_s, is_away = reaper.tick_s, False
            except Exception as error:  # noqa: BLE001 - whatever it is, the next tick may do
                # The class alone: a message might quote what was read.
                if not is_away:
                    logger.warning("leases cannot be renewed now (%s)", type(error).__name__)
                delay_s, is_away = min(reaper.tick_s, _RETRY_S), True
                reaper.disconnect()
        if self._reaper is not None and not is_away:
            with contextlib.suppress(redis.RedisError):  # It expires by itself.
                self._reporter.withdraw(self._reaper.channel, self._reaper.connection)
