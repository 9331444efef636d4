"""Waiting for Redis as a worker starts: for a limited time, and with a log line about it.

A wrong address must show soon, but in a compose file or a cluster Redis may start a little later.
A worker that was connected once waits without end, as Celery does: an operator should not have to
restart it because Redis was away for long. A RabbitMQ that refuses to declare a queue refuses it
each time, so that ends the worker.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

import redis
from amqp import ChannelError
from celery.exceptions import WorkerShutdown
from celery.worker import state
from kombu.exceptions import OperationalError

from sentq.connection.broker import how_to_start_redis
from sentq.rendering import printable
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["exit_if_declaration_is_refused", "wait_for_redis"]

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.5
_LOG_INTERVAL_S: Final = 5.0

_WHAT_TO_CHECK: Final = "check that it runs, that this host may reach it, user and password, and %s"

#: What a worker asks a broker for before it takes messages.
_DECLARATIONS: Final = ("Queue.declare", "Queue.bind", "Exchange.declare")


class _Backend(Protocol):
    """Celery's result backend for Redis."""

    @property
    def client(self) -> redis.Redis: ...

    def as_uri(self) -> str: ...


def wait_for_redis(connection: Connection, backend: _Backend, *, limit_s: float) -> None:
    """Wait until the broker and the Redis of the results answer.

    Args:
        connection: Kombu's connection to the broker.
        backend: Celery's backend of the results.
        limit_s: How long to wait for both together, in seconds.

    Raises:
        WorkerShutdown: One did not; it ends the worker with exit status 69.
    """
    deadline = time.monotonic() + limit_s
    place = f"the broker {connection.as_uri()}"
    _wait(lambda: _connect(connection), place, "SENTQ_BROKER_URL", deadline)
    place = f"the Redis of results {backend.as_uri()}"
    _wait(backend.client.ping, place, "SENTQ_RESULT_URL", deadline)


def _connect(connection: Connection) -> None:
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def _wait(ask: Callable[[], object], place: str, variable: str, deadline: float) -> None:
    log_at = 0.0
    while True:
        state.maybe_shutdown()
        try:
            ask()
        except (OperationalError, redis.RedisError, OSError) as error:
            start = how_to_start_redis(error)
            advice = f"{start}; or correct {variable}" if start else _WHAT_TO_CHECK % variable
            now = time.monotonic()
            if now >= deadline:
                logger.critical("%s does not answer (%s): %s", place, error, advice)
                raise WorkerShutdown(EX_UNAVAILABLE) from None
            if now >= log_at:
                left_s = deadline - now
                logger.warning(
                    "waiting for %s, for %.0f s at most (%s): %s", place, left_s, error, advice
                )
                log_at = now + _LOG_INTERVAL_S
            time.sleep(min(_RETRY_S, deadline - now))
        else:
            return


@contextlib.contextmanager
def exit_if_declaration_is_refused() -> Iterator[None]:
    """In the block, end the worker with exit status 78 if RabbitMQ refuses to declare a queue: a
    queue of that name exists with other properties, or the user may not.

    Raises:
        WorkerShutdown: It does.
    """
    try:
        yield
    except ChannelError as error:
        if error.method_name not in _DECLARATIONS:
            raise
        logger.critical(
            "the broker refuses what this worker declares (%s): a worker needs classic queues. If "
            "the queue is of another kind, delete it when it is empty, or use queues of other "
            "names (SENTQ_QUEUE, SENTQ_BULK_QUEUE) in workers and clients",
            printable(" ".join(str(error).split())),
        )
        raise WorkerShutdown(EX_CONFIG) from None
