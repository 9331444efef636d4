"""The broker's Redis, for commands that Celery does not offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import redis

from sentq.connection.blocking import perform
from sentq.connection.stand_in import stand_in
from sentq.errors import BrokerUnavailable, SettingsError
from sentq.wire.steps import Steps, run_steps

if TYPE_CHECKING:
    from celery import Celery

__all__ = [
    "BrokerKeys",
    "BrokerRedis",
    "broker_errors",
    "broker_unavailable",
    "how_to_start_redis",
    "open_broker",
    "queue_lists",
    "queue_of_list",
    "run_on_broker",
    "unusable",
    "with_advice",
]

T = TypeVar("T")

#: How kombu splits a queue by priority. To import these from kombu would make `import sentq`
#: slower by a tenth; a test compares them.
_SEPARATOR: Final = "\x06\x16"
_PRIORITY_STEPS: Final = (0, 3, 6, 9)

#: What errors say if no server listens at an address, and names of this host.
_REFUSED: Final = ("Connection refused", "Connect call failed")
_THIS_HOST: Final = ("localhost", "127.0.0.1", "::1")

#: Of the connection that is not used while something stands in for Redis.
_NO_POOL: Final = redis.ConnectionPool(host="stand-in.sentq.invalid")


def queue_lists(queue: str) -> list[str]:
    """Return the lists of a queue, as kombu names them: that of ordinary jobs, then one for each
    lower priority."""
    return [_list_of(queue, step) for step in _PRIORITY_STEPS]


def _list_of(queue: str, step: int) -> str:
    return f"{queue}{_SEPARATOR}{step}" if step else queue


def queue_of_list(name: str) -> str:
    """Return the queue to which a list belongs that `queue_lists` names."""
    return name.partition(_SEPARATOR)[0]


@dataclass(frozen=True, slots=True)
class BrokerKeys:
    """The names of keys in the broker's Redis. The defaults are those without a prefix.

    Attributes:
        prefix: The configured prefix of all keys.
        unacked_key: The hash of unacknowledged messages, with the prefix.
        unacked_index_key: The index of that hash, with the prefix.
    """

    prefix: str = ""
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"

    def key(self, name: str) -> str:
        """Return a key with the prefix."""
        return f"{self.prefix}{name}"

    def list_of(self, queue: str, priority: int) -> str:
        """Return the key of the list for messages of a priority, 0 to 9."""
        step = max(step for step in _PRIORITY_STEPS if step <= max(0, priority))
        return self.key(_list_of(queue, step))

    @property
    def priorities(self) -> tuple[int, ...]:
        """The priorities of the lists of a queue, in the order of `lists`."""
        return _PRIORITY_STEPS

    def lists(self, queue: str) -> list[str]:
        """Return the keys of the lists of a queue."""
        return [self.key(name) for name in queue_lists(queue)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRedis(BrokerKeys):
    """A connection to the broker that adds no prefix to keys, and the names of keys.

    Attributes:
        redis: The connection.
    """

    redis: redis.Redis

    def run(self, steps: Steps[T]) -> T:
        """Run steps on this connection."""
        return run_steps(steps, partial(perform, self.redis))


@contextmanager
def open_broker(app: Celery) -> Iterator[BrokerRedis]:
    """Connect to the broker for the block.

    While something stands in for Redis, only `BrokerRedis.run` can be used.

    Raises:
        BrokerUnavailable: The broker did not answer within the time-outs, or refused a command.
        SettingsError: The broker is not Redis.
    """
    from kombu.transport.redis import Channel

    try:
        if stand_in() is not None:
            yield BrokerRedis(redis=redis.Redis(connection_pool=_NO_POOL))
            return
        with app.pool.acquire(block=True) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            channel = connection.default_channel
            if not isinstance(channel, Channel):
                raise SettingsError("this needs a broker that is Redis")
            # Kombu's own client adds the prefix to some keys of some commands.
            client = redis.Redis(connection_pool=channel.client.connection_pool)
            yield BrokerRedis(
                channel.global_keyprefix,
                f"{channel.global_keyprefix}{channel.unacked_key}",
                f"{channel.global_keyprefix}{channel.unacked_index_key}",
                redis=client,
            )
    except broker_errors() as error:
        raise broker_unavailable(error) from error


def run_on_broker(app: Celery, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
    """Run steps on a connection to the broker, and return what they return.

    Args:
        app: The app of the broker.
        make_steps: Makes the steps for these keys.

    Raises:
        BrokerUnavailable: The broker did not answer within the time-outs, or refused a command.
        SettingsError: The broker is not Redis.
    """
    with open_broker(app) as broker:
        return broker.run(make_steps(broker))


def broker_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return `others`, and what redis-py and kombu raise if the broker cannot be used."""
    from kombu.exceptions import OperationalError

    return OperationalError, redis.RedisError, OSError, *others


def broker_unavailable(error: Exception) -> BrokerUnavailable:
    """Return the error for one of redis-py or kombu."""
    return BrokerUnavailable(unusable(error))


def unusable(error: Exception) -> str:
    """Return what a user reads about an error of redis-py or kombu that concerns Redis."""
    return f"Redis cannot be used: {with_advice(error)}"


def with_advice(error: Exception) -> str:
    """Return the message of an error, with what to do if it says that no server runs here."""
    said = str(error)
    if advice := how_to_start_redis(error):
        return f"{said.removesuffix('.')}: {advice}"
    return said


def how_to_start_redis(error: BaseException) -> str | None:
    """Return how to start a Redis if an error says that none runs on this host; else None."""
    said = str(error)
    if any(word in said for word in _REFUSED) and any(host in said for host in _THIS_HOST):
        return "start Redis; to try sentq out, `sentq dev` starts one with a worker"
    return None
