"""The Redis in which jobs wait, for whoever asks it more than Celery does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis
from kombu.exceptions import OperationalError

from sentq.errors import BrokerUnavailable, SettingsError

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["BrokerRedis", "open_broker", "queue_lists"]

#: How kombu splits a queue by priority. Importing it for that would make `import sentq` slower
#: by a tenth; a test compares.
_SEPARATOR: Final = "\x06\x16"
_PRIORITY_STEPS: Final = (0, 3, 6, 9)

_UNACKED_KEY: Final = "unacked"
_UNACKED_INDEX_KEY: Final = "unacked_index"


def queue_lists(queue: str) -> list[str]:
    """The lists that make up a queue, as kombu names them: the one of ordinary jobs, and one for
    each lower priority."""
    return [_list_of(queue, step) for step in _PRIORITY_STEPS]


def _list_of(queue: str, step: int) -> str:
    return f"{queue}{_SEPARATOR}{step}" if step else queue


@dataclass(frozen=True, slots=True)
class BrokerRedis:
    """A connection that adds no prefix by itself, and what stands where."""

    redis: redis.Redis
    prefix: str = ""
    unacked_key: str = _UNACKED_KEY
    unacked_index_key: str = _UNACKED_INDEX_KEY

    def key(self, name: str) -> str:
        """The name under which Redis has it."""
        return f"{self.prefix}{name}"

    def list_of(self, queue: str, priority: int) -> str:
        """The list for messages of this priority, 0 to 9."""
        step = max(step for step in _PRIORITY_STEPS if step <= max(0, priority))
        return self.key(_list_of(queue, step))

    def lists(self, queue: str) -> list[str]:
        """The lists of a queue, as Redis has them."""
        return [self.key(name) for name in queue_lists(queue)]


@contextmanager
def open_broker(app: Celery) -> Iterator[BrokerRedis]:
    """Connect to the broker for the block.

    Raises:
        BrokerUnavailable: It did not answer within the time-outs, or refused a command.
        SettingsError: It is not Redis.
    """
    from kombu.transport.redis import Channel

    try:
        with app.pool.acquire(block=True) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            channel = connection.default_channel
            if not isinstance(channel, Channel):
                raise SettingsError("this needs a broker that is Redis")
            # Kombu's own client adds the prefix to some commands, and to some of their keys.
            client = redis.Redis(connection_pool=channel.client.connection_pool)
            yield BrokerRedis(
                client,
                channel.global_keyprefix,
                f"{channel.global_keyprefix}{channel.unacked_key}",
                f"{channel.global_keyprefix}{channel.unacked_index_key}",
            )
    except (OperationalError, redis.RedisError, OSError) as error:
        raise BrokerUnavailable(f"Redis cannot be used: {error}") from error
