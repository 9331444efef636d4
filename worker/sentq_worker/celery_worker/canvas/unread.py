"""A warning about queues that nothing reads, and into which a worker publishes what follows jobs.

A task that follows a job goes, if its signature names no queue, where `follow_routes` says, or into
Celery's default queue. The producing application may use another default queue; then no worker
reads this one, and a chain waits without end. Redis does not know who reads a list. So the worker
looks whether the oldest message stays where it is.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import redis
from celery import signals

from sentq.connection.broker import queue_lists

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["UnreadQueues"]

logger = logging.getLogger(__name__)

#: How often the queues are looked at, and for how long the oldest message may stay.
_POLL_INTERVAL_S: Final = 5.0
_UNREAD_AFTER_S: Final = 30.0


@dataclass(slots=True)
class _Seen:
    """The oldest message of a list: its digest, and since when it is the oldest, by monotonic
    time."""

    digest: bytes
    since_s: float


class UnreadQueues:
    """Warns, once for each queue, if no message is taken from a queue that no signature named.

    Args:
        app: Knows the queue of a task whose signature names none.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        #: The queues that are watched, and those that were found to be unread.
        self._watched: dict[str, None] = {}
        self._warned: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._poll_at = 0.0

    def listen(self) -> None:
        """Learn from Celery's signal what this process publishes."""
        signals.before_task_publish.connect(
            lambda sender, routing_key, **_: self.watch(sender, routing_key),
            weak=False,
            dispatch_uid="sentq_worker.unread_queues",
        )

    def watch(self, task: str, queue_of_task: str) -> None:
        """Watch the queue of a published task if it is where a task goes that names no queue.

        So the names of watched queues are from the settings, and not from messages: there are few,
        and they may be logged.
        """
        queue: str = self._app.amqp.router.route({}, task)["queue"].name
        if queue == queue_of_task and queue not in self._app.amqp.queues.consume_from:
            self._watched.setdefault(queue)

    def poll(self, connection: redis.Redis, prefix: str) -> None:
        """Look at the queues, every few seconds. Any one thread may call this.

        Args:
            connection: A connection to the broker that adds no prefix to keys.
            prefix: The configured prefix of all keys.
        """
        now_s = time.monotonic()
        if now_s < self._poll_at:
            return
        self._poll_at = now_s + _POLL_INTERVAL_S
        for queue in [each for each in [*self._watched] if each not in self._warned]:
            try:
                self._look(connection, queue, prefix, now_s)
            except redis.ResponseError:
                self._warned.add(queue)  # The worker may publish there, and not look.

    def _look(self, connection: redis.Redis, queue: str, prefix: str, now_s: float) -> None:
        for name in (f"{prefix}{each}" for each in queue_lists(queue)):
            oldest = cast("list[bytes]", connection.lrange(name, -1, -1))
            if not oldest:
                self._seen.pop(name, None)
                continue
            digest = hashlib.blake2b(oldest[0], digest_size=16).digest()
            before = self._seen.get(name)
            if before is None or before.digest != digest:
                self._seen[name] = _Seen(digest, now_s)
            elif now_s - before.since_s >= _UNREAD_AFTER_S:
                self._warned.add(queue)
                logger.warning(
                    "no message was taken from the queue %s for %d s, and what follows jobs is "
                    "waiting there: does a worker read it? Senders can name the queue of the next "
                    "task, as in store.s().set(queue=…), and worker.follow_routes can name one for "
                    "tasks without it; this is logged once",
                    queue,
                    now_s - before.since_s,
                )
                return
