"""Recovery of jobs whose worker was lost: they are requeued, counted, or become dead letters."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import redis

from sentq.contract import CALLBACK_HEADER, TASK_NAME
from sentq.errors import WorkerLost
from sentq.wire.batches import place_in
from sentq.wire.dead_letters import DeadLetterCode, dead_letter_fields
from sentq_worker.broker.callbacks import CallbackMessage, JobEnd
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.dead_letters import dead_letter, dead_letter_unreadable
from sentq_worker.broker.delivery import UnackedEntry, count_key, lost_deliveries, read_counts
from sentq_worker.broker.qos import UnackedQoS
from sentq_worker.broker.results import ResultStore, failed

__all__ = ["LostJobRecovery"]

logger = logging.getLogger(__name__)


class LostJobRecovery:
    """Requeues or dead-letters the jobs of a lost worker, by entries of `unacked`.

    Args:
        channel: The channel of the Redis that the jobs were taken from.
        store: Stores the results of jobs that become dead letters.
    """

    def __init__(self, channel: Channel, store: ResultStore) -> None:
        self._channel = channel
        self._store = store
        self._in_one_step = channel.shares_redis(store.connection_options)

    def requeue(
        self,
        connection: redis.Redis,
        entries: Sequence[tuple[str, bytes]],
        error: str,
        *,
        timeout_s: float | None = None,
    ) -> int:
        """Put jobs back at the head of their queues, in this order, and count their deliveries as
        lost. Jobs that were marked as running alone become dead letters.

        Args:
            connection: To the Redis of the messages; one that adds no prefix to keys by itself.
            entries: Tags, each with what is recorded under it.
            error: How these deliveries ended.
            timeout_s: Leave out entries that were renewed within so many seconds.

        Returns:
            How many jobs were requeued.

        Raises:
            redis.RedisError: Some stay where they were. Doing it again is harmless.
        """
        lost, read = [], [(tag, raw, UnackedEntry.read(tag, raw)) for tag, raw in entries]
        messages = [entry.message for _, _, entry in read if entry is not None]
        read_counts(connection, messages, self._channel.full_key)
        for tag, raw, entry in read:
            if entry is None:
                target = self._channel.dead_letter_target(timeout_s=timeout_s)
                dead_letter_unreadable(connection, target, tag, raw)
            elif entry.alone:
                self._dead_letter(connection, entry, error, timeout_s)
            else:
                entry.count_lost_delivery(error)
                lost.append(entry)
        # The first one is requeued last, so that it is the first one taken again.
        unacked: UnackedQoS = self._channel.qos
        return unacked.requeue(connection, lost[::-1], timeout_s=timeout_s)

    def _dead_letter(
        self, connection: redis.Redis, entry: UnackedEntry, error: str, timeout_s: float | None
    ) -> None:
        mark = entry.alone or {}
        worker = str(mark.get("worker"))
        deliveries = lost_deliveries(entry.headers) + 1
        entry.count_lost_delivery(error)
        fields = dead_letter_fields(
            code=DeadLetterCode.WORKER_LOST,
            reason=f"{error} while it ran this job alone",
            message=entry.requeued_message(),
            job_id=entry.job_id,
            deliveries=deliveries,
            first_error=entry.first_error,
            last_error=error,
            worker=worker,
            queue=entry.queue,
        )
        target = self._channel.dead_letter_target(timeout_s=timeout_s)
        lost = WorkerLost(
            f"{deliveries} workers were lost over this job; the last one ran it alone"
        )
        place, job_id = place_in(entry.headers), _stored_id(entry)
        callback = self._callback(entry, lost) if job_id else None
        if job_id and self._in_one_step:
            is_moved = self._store.store_and_dead_letter(
                *(job_id, failed(job_id, lost), target, entry.tag, fields),
                place=place,
                callback=callback,
            )
        else:
            # Stored first: a dead letter without a result would leave its client waiting for ever.
            if job_id:
                self._store.store(
                    {job_id: failed(job_id, lost)},
                    places={job_id: place} if place else {},
                    callbacks={job_id: callback} if callback else {},
                )
            is_moved = dead_letter(connection, target, entry.tag, fields)
        if is_moved:
            self._remove_count(connection, entry)
            logger.error(
                "job %s became a dead letter: %d deliveries were lost, the last one while it ran "
                "alone on %s",
                entry.job_id,
                deliveries,
                worker,
            )

    def _callback(self, entry: UnackedEntry, error: Exception) -> CallbackMessage | None:
        header = entry.headers.get(CALLBACK_HEADER)
        if header is None or entry.job_id is None:
            return None
        return self._store.job_callbacks.message(header, JobEnd.of(entry.job_id, error))

    def _remove_count(self, connection: redis.Redis, entry: UnackedEntry) -> None:
        """Remove the count of a dead-lettered job: an operator may send the job again."""
        key = self._channel.full_key(count_key(entry.message))
        with contextlib.suppress(redis.RedisError):  # It expires by itself.
            redis.Redis.execute_command(connection, "DEL", key)


def _stored_id(entry: UnackedEntry) -> str | None:
    """Return the id of a job that becomes a dead letter; None if nothing is to be stored of it."""
    headers = entry.headers
    if headers.get("task") != TASK_NAME or headers.get("ignore_result"):
        return None
    return entry.job_id
