"""Storing results and acknowledging messages, in one step if possible.

If results are stored in the Redis that the messages came from, one script does both. Otherwise
the results are stored first: a job that is acknowledged and not stored would be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from sentq.wire.batches import BatchPlace
from sentq_worker.broker.callbacks import CallbackMessage
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.protocols import JobConsumer
from sentq_worker.broker.results import ResultStore
from sentq_worker.jobs.in_flight import InFlightJob, batch_tags

__all__ = ["Acknowledger"]

logger = logging.getLogger(__name__)


class Acknowledger:
    """Stores results, and acknowledges jobs on one connection; jobs of earlier connections too,
    as far as their broker allows.

    Args:
        store: Stores the results.
        consumer: Celery's consumer on the connection.
        connection: The number of the connection.
    """

    def __init__(self, store: ResultStore, consumer: JobConsumer, connection: int) -> None:
        self._store = store
        self._connection = connection
        self._connection_errors = consumer.connection_errors
        channel = consumer.task_consumer.channel
        self._channel = channel if isinstance(channel, Channel) else None
        #: Tags of messages whose results are stored, and which could not be acknowledged.
        self._unacknowledged: list[str] = []
        self._in_one_step = self._channel is not None and self._channel.shares_redis(
            store.connection_options
        )

    def store_and_acknowledge(
        self,
        jobs: Sequence[InFlightJob],
        documents: Mapping[str, bytes],
        places: Mapping[str, BatchPlace],
        callbacks: Mapping[str, CallbackMessage],
    ) -> None:
        """Store the documents, by job id, count the jobs that have a place in a batch, publish the
        callbacks of those that have one, and acknowledge the jobs.

        Raises:
            redis.RedisError: Nothing was stored and nothing acknowledged. Doing it again is
                harmless.
        """
        tags = batch_tags(jobs)
        if self._channel and tags and self._in_one_step:
            self._store.store(documents, self._channel.unacked_tags(tags), places, callbacks)
            self._channel.qos.complete(tags)
        else:
            self._store.store(documents, places=places, callbacks=callbacks)
            self._acknowledge_tags(tags)
        for job in jobs:
            job.ack_handle.acknowledge(self._connection)

    def _acknowledge_tags(self, tags: Sequence[str]) -> None:
        if not self._channel or not tags:
            return
        due = [*self._unacknowledged, *tags]
        try:
            self._channel.qos.acknowledge_all(due)
            self._unacknowledged = []
        except self._connection_errors as error:
            # Their results are stored, so they no longer count as in flight; otherwise the worker
            # would take no more jobs.
            self._channel.qos.release(tags)
            self._unacknowledged = due
            logger.warning(
                "the results of %d jobs are stored, but the jobs cannot be acknowledged now (%s); "
                "they are acknowledged with the next ones",
                len(due),
                type(error).__name__,
            )
