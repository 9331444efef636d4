"""Leases: what a worker holds stays its own while it lives, and goes to another when it does not.

All of it goes by Redis' clock, in a thread and on a connection of their own: a long batch does
not keep a worker from renewing, nor does a clock that is wrong rob another. Kombu's own way of
restoring, which goes by the worker's clock, is off in our channels (`Unacked.restore_visible`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

import redis

from sentq_worker.broker.channel import Channel
from sentq_worker.broker.clock import RedisClock
from sentq_worker.broker.heartbeat import Reporter
from sentq_worker.broker.reaper import Sweeper, Touched
from sentq_worker.broker.recovery import LostJobs
from sentq_worker.broker.results import OutcomeStore
from sentq_worker.broker.revocations import Cancelled

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
        cancelled: Looks with each tick which jobs were cancelled.
    """

    def __init__(
        self, store: OutcomeStore, reporter: Reporter, clock: RedisClock, cancelled: Cancelled
    ) -> None:
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._cancelled = cancelled
        self._sweeper: Sweeper | None = None
        self._thread: threading.Thread | None = None
        self._has_ended = threading.Event()
        self._touched: Touched | None = None

    def attach(
        self,
        channel: Channel,
        *,
        in_hand: Callable[[], Collection[str]],
        forget: Callable[[Collection[str]], object],
    ) -> None:
        """Go on with the channel of a new connection.

        What the last one delivered stays ours as far as it is in hand; the rest goes back.

        Args:
            channel: Takes the jobs from now on.
            in_hand: Says under which tags jobs are noted that can be finished without the
                connection that delivered them.
            forget: Is told, in the thread of the leases, of tags under which nothing is noted any
                more: others have these jobs, unless they have just ended.
        """
        channel.qos.stays_in_hand = lambda: () if self._has_ended.is_set() else in_hand()
        is_one_redis = channel.shares_redis(self._store.connection_options)
        lost, clock = LostJobs(channel, self._store), self._clock if is_one_redis else None
        before, sweeper = self._sweeper, Sweeper(channel, lost, clock, forget)
        if before is not None:
            sweeper.not_before = before.not_before
        self._sweeper = sweeper
        if before is not None:
            channel.qos.adopt(before.channel.qos)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sentq-leases", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Renew no longer: from now on whatever is held goes back as its connection closes, and
        at once where it has closed already."""
        self._has_ended.set()
        channel = self._sweeper.channel if self._sweeper else None
        if channel is not None and channel.closed:
            with contextlib.suppress(redis.RedisError, OSError):  # Then their leases lapse.
                channel.qos.restore_unacked(channel.own_client())
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        is_away, delay_s = False, 0.0
        while not self._has_ended.wait(delay_s):
            sweeper = self._sweeper
            if sweeper is None:
                return
            try:
                self._touched = sweeper.tick(self._touched)
                told = {"now_s": self._touched.redis_s, "tick_s": sweeper.tick_s}
                self._reporter.write(sweeper.channel, sweeper.connection, **told)
                self._cancelled.look()
                delay_s, is_away = sweeper.tick_s, False
            except Exception as error:  # noqa: BLE001 - whatever it is, the next tick may do
                # The class alone: a message might quote what was read.
                if not is_away:
                    logger.warning("leases cannot be renewed now (%s)", type(error).__name__)
                delay_s, is_away = min(sweeper.tick_s, _RETRY_S), True
                sweeper.disconnect()
        if self._sweeper is not None and not is_away:
            with contextlib.suppress(redis.RedisError):  # It expires by itself.
                self._reporter.withdraw(self._sweeper.channel, self._sweeper.connection)
