"""The end of jobs: outcomes stored and messages acknowledged, in one step where that can be.

Where results lie in the Redis that the messages came from, one script does both. Elsewhere the
outcomes are stored first: what is acknowledged and not stored would be lost.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from sentq_worker.broker.channel import Channel
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.broker.results import ResultStore
from sentq_worker.jobs.handback import CeleryHandback
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["Acknowledger"]

logger = logging.getLogger(__name__)


class Acknowledger:
    """Ends jobs on one connection; jobs of earlier ones too, as far as their broker allows."""

    def __init__(self, store: ResultStore, consumer: Any, connection: int) -> None:
        self._store = store
        self._connection = connection
        self._connection_errors: tuple[type[BaseException], ...] = consumer.connection_errors
        channel = consumer.task_consumer.channel
        self._channel: Channel | None = channel if isinstance(channel, Channel) else None
        self._worker: str = consumer.hostname
        self._lost = LostJobRecovery(self._channel, store) if self._channel else None
        #: Tags of messages whose jobs are answered, and that could not be acknowledged.
        self._late: list[str] = []
        self._in_one_step = self._channel is not None and self._channel.shares_redis(
            store.connection_options
        )

    def finish(self, jobs: Sequence[InFlightJob], documents: Mapping[str, bytes]) -> None:
        """Store the documents, by job id, and acknowledge the jobs.

        Raises:
            redis.RedisError: Nothing was stored and nothing acknowledged. Doing it again is
                harmless.
        """
        tags = [job.ack_handle for job in jobs if isinstance(job.ack_handle, str)]
        if self._channel and tags and self._in_one_step:
            self._store.finish(documents, self._channel.ack_handles(tags))
            self._channel.qos.release(tags)
        else:
            self._store.finish(documents)
            self._acknowledge_tags(tags)
        # Beyond Redis a message can be acknowledged only where it was delivered.
        for job in jobs:
            ack_handle = job.ack_handle
            if isinstance(ack_handle, (str, CeleryHandback)) or job.connection != self._connection:
                continue
            ack_handle.ack_log_error(logger, self._connection_errors)

    def mark_alone(self, job: InFlightJob) -> bool:
        """Mark that this job, a suspect, is about to run alone: if this worker is lost over it,
        it becomes a dead letter. Returns whether it is still ours to run.

        Raises:
            redis.RedisError: It is not marked, and must not run yet.
        """
        if self._channel is None or job.tag is None:
            return True  # On another broker nobody counts.
        is_ours: bool = self._channel.qos.mark_alone(job.tag, self._worker)
        if not is_ours:
            self._channel.qos.release([job.tag])
        return is_ours

    def unmark(self, job: InFlightJob) -> None:
        """Say that a suspect runs no longer, and waits: what happens to its worker meanwhile is
        not its fault."""
        if self._channel is not None and job.tag is not None:
            with contextlib.suppress(redis.RedisError):
                self._channel.qos.unmark(job.tag)

    def requeue_lost(self, jobs: Sequence[InFlightJob], error: str) -> None:
        """Give back jobs over which this worker is lost, such as those in the engine when its
        device went: the delivery is counted, and one that ran alone is buried.

        Args:
            jobs: Those alone that may be to blame.
            error: How it ended, in some words that quote no text.

        Raises:
            redis.RedisError: They are where they were, and come again when their leases lapse.
        """
        tags = [job.tag for job in jobs if job.tag is not None]
        if self._channel is None or self._lost is None or not tags:
            return
        with self._channel.conn_or_acquire() as connection:
            key = self._channel.ack_handles(tags).unacked_key
            raws = connection.execute_command("HMGET", key, *tags)
            noted = [(tag, raw) for tag, raw in zip(tags, raws, strict=True) if raw is not None]
            self._lost.requeue(connection, noted, error)
        self._channel.qos.release(tags)

    def let_go(self, jobs: Sequence[InFlightJob]) -> None:
        """Count these as held no longer, without acknowledging them: others have them."""
        if self._channel is not None:
            self._channel.qos.release([job.tag for job in jobs if job.tag is not None])

    def _acknowledge_tags(self, tags: Sequence[str]) -> None:
        if not self._channel or not tags:
            return
        due = [*self._late, *tags]
        try:
            self._channel.qos.acknowledge_all(due)
            self._late = []
        except self._connection_errors as error:
            # They are answered, so they no longer count as held; or nothing more would be taken.
            self._channel.qos.release(tags)
            self._late = due
            logger.warning(
                "%d jobs are answered but not acknowledged (%s); that comes with the next ones",
                len(due),
                type(error).__name__,
            )
