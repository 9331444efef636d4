"""Lets a worker start only beside workers of the same model, if a setting says so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from typing import Protocol

import redis
from celery.exceptions import WorkerShutdown
from celery.worker import state

from sentq.rendering import printable
from sentq.wire.agreement import value_of
from sentq.wire.reports import MIN_REPORT_LIFETIME_S, read_reports, remove_report, write_report
from sentq_worker.exit_codes import EX_CONFIG
from sentq_worker.reports.heartbeat import HeartbeatWriter
from sentq_worker.reports.peers import find_older_differing_peer

__all__ = ["StartCheck"]

logger = logging.getLogger(__name__)


class _ConnectingChannel(Protocol):
    """What the check uses of a channel."""

    def full_key(self, name: str) -> str: ...

    def own_client(self) -> redis.Redis: ...


class StartCheck:
    """The check, once for each worker, before it takes its first job.

    Args:
        heartbeat: Writes the worker's reports.
        is_required: Whether there is a check.
    """

    def __init__(self, heartbeat: HeartbeatWriter, *, is_required: bool) -> None:
        self._heartbeat = heartbeat
        self._is_due = is_required

    def run(
        self,
        channel: _ConnectingChannel | None,
        *,
        worker: str,
        queues: Collection[str],
    ) -> None:
        """Refuse to start if an older worker of the same queues has another model.

        Args:
            channel: Names the keys of reports; None if the broker is not Redis.
            worker: The name of this worker.
            queues: The queues that it is going to read.

        Raises:
            WorkerShutdown: It must not start; exit status 78.
            redis.RedisError: Redis did not answer. The check remains due.
        """
        if not self._is_due:
            return
        if channel is None:
            logger.critical("require_same_model needs a broker that is Redis")
            raise WorkerShutdown(EX_CONFIG)
        connection = channel.own_client()
        try:
            self._check(connection, channel.full_key(""), worker=worker, queues=queues)
        finally:
            connection.connection_pool.disconnect()

    def _check(
        self, connection: redis.Redis, prefix: str, *, worker: str, queues: Collection[str]
    ) -> None:
        seconds, microseconds = connection.time()
        own = self._heartbeat.report(worker, queues, now_s=seconds + microseconds / 1e6)
        with contextlib.suppress(redis.ResponseError):  # Redis is full: others do not see this one.
            write_report(connection, own, lifetime_s=MIN_REPORT_LIFETIME_S, prefix=prefix)
        found = find_older_differing_peer(
            own, lambda: read_reports(connection, prefix=prefix), on_wait=state.maybe_shutdown
        )
        self._is_due = False
        if found is not None:
            peer, topic = found
            remove_report(connection, worker, prefix=prefix)
            logger.critical(
                "this worker does not start (require_same_model): %s reads the same queues and "
                "differs in its %s: %s; here: %s. Stop the others first, give this worker queues "
                "of its own, or set require_same_model = false",
                printable(peer.worker),
                topic,
                printable(value_of(topic, peer) or ""),
                value_of(topic, own),
            )
            raise WorkerShutdown(EX_CONFIG)
