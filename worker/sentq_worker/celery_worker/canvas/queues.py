"""The queues into which a worker publishes what follows a job.

Celery keeps an object for each queue that it has published into, and kombu an exchange and a
binding, in memory and in Redis. A sender chooses these names: 500 new ones in one message took
0.8 MB of a worker's memory, and 500 keys in Redis, for good.
"""

from __future__ import annotations

from celery.app.amqp import Queues
from kombu import Queue

__all__ = ["UndeclaredQueues", "UnkeptQueues"]


class UnkeptQueues(Queues):
    """The queues of an app. It makes one of any other name as it publishes, and keeps none of
    these."""

    def __missing__(self, name: str) -> Queue:
        if not self.create_missing:
            raise KeyError(name)
        return self.new_missing(name)


class UndeclaredQueues(UnkeptQueues):
    """The same for Redis, where such a queue is only a list."""

    def new_missing(self, name: str) -> Queue:
        """Return a queue that needs neither an exchange nor a binding."""
        return _UndeclaredQueue(name, self.autoexchange(name), name)


class _UndeclaredQueue(Queue):
    no_declare = True
    #: Kombu would record that it has declared the queue.
    can_cache_declaration = False
