"""A subscription gives its connection back open, and nothing of it stays there."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from sentq import Client, errors
from sentq.results.subscription import PooledSubscription
from tests.support.processes import RedisProcess, eventually


@pytest.fixture(params=[2, 3])
def pool(own_redis: RedisProcess, request: pytest.FixtureRequest) -> Iterator[redis.ConnectionPool]:
    """A pool with each version of the protocol in turn."""
    with redis.ConnectionPool.from_url(own_redis.url, protocol=request.param) as pool:
        yield pool


def _opened(server: redis.Redis) -> int:
    """Return how many connections a server has accepted."""
    counts: Any = server.info("stats")
    return int(counts["total_connections_received"])


def _subscribed(pool: redis.ConnectionPool) -> PooledSubscription:
    subscription = PooledSubscription(pool, ignore_subscribe_messages=True)
    subscription.subscribe("a", "b")
    return subscription


def test_a_wait_opens_no_connection_after_the_first_one(own_redis: RedisProcess) -> None:
    with Client(broker_url=own_redis.url) as client, own_redis.client() as server:
        job = client.submit("text")

        def wait() -> None:
            with pytest.raises(errors.WaitTimeout):
                job.result(timeout=0.02)

        wait()
        before = _opened(server)
        for _ in range(10):
            wait()
        assert _opened(server) == before


def test_a_connection_comes_back_without_messages(
    own_redis: RedisProcess, pool: redis.ConnectionPool
) -> None:
    with own_redis.client() as server:
        client = redis.Redis(connection_pool=pool)
        client.ping()
        before = _opened(server)
        for _ in range(3):
            subscription: Any = _subscribed(pool)
            eventually(lambda: server.publish("a", "x") and server.publish("b", "x"))
            subscription.unsubscribe("a")
            subscription.close()
            assert server.pubsub_channels() == []
            assert client.echo("text") == b"text"
        assert _opened(server) == before


def test_the_connection_to_a_frozen_redis_is_closed_soon(
    own_redis: RedisProcess, pool: redis.ConnectionPool
) -> None:
    subscription = _subscribed(pool)
    connection: Any = subscription.connection
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        subscription.close()
        assert time.monotonic() - started < 2
        assert not connection.is_connected
    finally:
        own_redis.process.send_signal(signal.SIGCONT)


def test_the_connection_to_a_redis_that_went_away_is_closed(
    own_redis: RedisProcess, pool: redis.ConnectionPool
) -> None:
    subscription = _subscribed(pool)
    connection: Any = subscription.connection
    own_redis.stop()
    subscription.close()
    subscription.close()
    assert not connection.is_connected
    own_redis.start()
    assert redis.Redis(connection_pool=pool).ping()
