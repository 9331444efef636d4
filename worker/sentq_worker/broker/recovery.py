"""What becomes of jobs whose worker was lost: they go back, counted, or become dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import redis

from sentq.contract import TASK_NAME
from sentq.errors import WorkerLost
from sentq.wire.dead_letters import DeadLetterCode, dead_letter_fields
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.dead_letters import dead_letter
from sentq_worker.broker.delivery import UnackedEntry, lost_deliveries
from sentq_worker.broker.qos import UnackedQoS
from sentq_worker.broker.results import ResultStore, failed

__all__ = ["LostJobRecovery"]

logger = logging.getLogger(__name__)


class LostJobRecovery:
    """Gives back or buries what a lost worker held, by entries of `unacked`.

    Args:
        channel: Where it was taken from.
        store: Keeps the outcomes of those that are buried.
    """

    def __init__(self, channel: Channel, store: ResultStore) -> None:
        self._channel = channel
        self._store = store
        self._in_one_step = channel.shares_redis(store.connection_options)

    def requeue(
        self,
        connection: Any,
        entries: Sequence[tuple[str, bytes]],
        error: str,
        *,
        timeout_s: float | None = None,
    ) -> int:
        """Put these back at the head of their queues, in this order, and count their deliveries
        as lost; bury those that were marked as running alone.

        Args:
            connection: To the Redis of the messages; one that adds no prefix to keys by itself.
            entries: Tags, and what is noted under them.
            error: How these deliveries ended.
            timeout_s: Leave alone what somebody has renewed within so many seconds.

        Returns:
            How many went back.

        Raises:
            redis.RedisError: Some are where they were. Doing it again is harmless.
        """
        returned = []
        for tag, raw in entries:
            entry = UnackedEntry.read(tag, raw)
            if entry is None:
                self._dead_letter_unreadable(connection, tag, raw, timeout_s)
            elif entry.alone:
                self._dead_letter(connection, entry, error, timeout_s)
            else:
                entry.count_loss(error)
                returned.append(entry)
        # The first one goes back last, so that it is the first one taken again.
        unacked: UnackedQoS = self._channel.qos
        return unacked.requeue(connection, returned[::-1], timeout_s=timeout_s)

    def _dead_letter(
        self, connection: Any, entry: UnackedEntry, error: str, timeout_s: float | None
    ) -> None:
        mark, headers = entry.alone or {}, entry.headers
        worker = str(mark.get("worker"))
        deliveries = lost_deliveries(headers) + 1
        entry.count_loss(error)
        fields = dead_letter_fields(
            code=DeadLetterCode.WORKER_LOST,
            reason=f"{error} while it ran this job alone",
            message=entry.for_the_queue(),
            job_id=entry.job_id,
            deliveries=deliveries,
            first_error=entry.first_error,
            last_error=error,
            worker=worker,
            queue=entry.queue,
        )
        dead_letter_target = self._channel.dead_letter_target(timeout_s=timeout_s)
        document = self._document(entry, deliveries)
        if document and self._in_one_step:
            is_buried = self._store.finish_and_dead_letter(
                *document, dead_letter_target, entry.tag, fields
            )
        else:
            # Stored first: a letter without it would leave somebody waiting for ever.
            if document:
                self._store.finish(dict([document]))
            is_buried = dead_letter(connection, dead_letter_target, entry.tag, fields)
        if is_buried:
            logger.error(
                "job %s became a dead letter: %d deliveries were lost, the last one while it ran "
                "alone on %s",
                entry.job_id,
                deliveries,
                worker,
            )

    def _document(self, entry: UnackedEntry, deliveries: int) -> tuple[str, bytes] | None:
        headers, job_id = entry.headers, entry.job_id
        if job_id is None or headers.get("task") != TASK_NAME or headers.get("ignore_result"):
            return None
        message = f"{deliveries} workers were lost over this job; the last one ran it alone"
        return job_id, failed(job_id, WorkerLost(message))

    def _dead_letter_unreadable(
        self, connection: Any, tag: str, raw: bytes, timeout_s: float | None
    ) -> None:
        reason = "it cannot be given back"
        fields = dead_letter_fields(code=DeadLetterCode.MALFORMED, reason=reason, message=raw)
        try:
            if dead_letter(
                connection, self._channel.dead_letter_target(timeout_s=timeout_s), tag, fields
            ):
                logger.error("a message of %d bytes became a dead letter: %s", len(raw), reason)
        except redis.ResponseError as error:
            logger.warning("Redis refuses the dead letter (%s); it will come again", error)
