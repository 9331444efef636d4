"""Deliveries that end without a result, or may: suspects, lost jobs, and jobs that others have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import redis

from sentq_worker.broker.channel import Channel
from sentq_worker.broker.protocols import JobConsumer
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.broker.results import ResultStore
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["Deliveries"]


class Deliveries:
    """The deliveries of one connection, as they are recorded in Redis. On another broker nothing
    is recorded, and each method does nothing.

    Args:
        store: Stores the results of jobs that become dead letters.
        consumer: Celery's consumer on the connection.
    """

    def __init__(self, store: ResultStore, consumer: JobConsumer) -> None:
        channel = consumer.task_consumer.channel
        self._channel = channel if isinstance(channel, Channel) else None
        self._recovery = LostJobRecovery(self._channel, store) if self._channel else None
        self._worker = consumer.hostname

    def mark_alone(self, job: InFlightJob) -> bool:
        """Mark that a suspect is about to run alone: if this worker is lost over it, it becomes a
        dead letter.

        Returns:
            Whether this worker still has the job, and may run it.

        Raises:
            redis.RedisError: It is not marked, and must not run yet.
        """
        if self._channel is None or job.tag is None:
            return True  # Another broker's deliveries are not counted.
        may_run: bool = self._channel.qos.mark_alone(job.tag, self._worker)
        if not may_run:
            self._channel.qos.release([job.tag])
        return may_run

    def unmark(self, job: InFlightJob) -> None:
        """Remove the mark of a suspect that runs no longer, and waits: it is not to blame for
        what happens to its worker meanwhile."""
        if self._channel is not None and job.tag is not None:
            with contextlib.suppress(redis.RedisError):
                self._channel.qos.unmark(job.tag)

    def requeue_lost(self, jobs: Sequence[InFlightJob], error: str) -> None:
        """Requeue jobs over which this worker is lost, such as those in the engine when its
        device was lost. The delivery is counted as lost; a job that ran alone is dead-lettered.

        Args:
            jobs: Only those that may be to blame.
            error: How the delivery ended, in words that quote no text.

        Raises:
            redis.RedisError: They are delivered again when their leases expire.
        """
        tags = [job.tag for job in jobs if job.tag is not None]
        if self._channel is None or self._recovery is None or not tags:
            return
        with self._channel.conn_or_acquire() as connection:
            key = self._channel.unacked_tags(tags).unacked_key
            raws = connection.execute_command("HMGET", key, *tags)
            entries = [(tag, raw) for tag, raw in zip(tags, raws, strict=True) if raw is not None]
            self._recovery.requeue(connection, entries, error)
        self._channel.qos.release(tags)

    def make_room(self, jobs: Sequence[InFlightJob]) -> None:
        """Take jobs of the first queue beside these, although these fill what the worker may have
        in flight: they compute for long."""
        if self._channel is not None:
            self._channel.qos.make_room([job.tag for job in jobs if job.tag is not None])

    def release(self, jobs: Sequence[InFlightJob]) -> None:
        """Count these as no longer in flight, without acknowledging them: other workers have
        them."""
        if self._channel is not None:
            self._channel.qos.release([job.tag for job in jobs if job.tag is not None])
