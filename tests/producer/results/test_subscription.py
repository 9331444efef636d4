"""The connection of a subscription that has ended is kept, and nothing of it stays there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from sentq import Client, errors
from sentq.results.subscription import KeptSubscription, Subscriptions
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


def _subscribed(subscriptions: Subscriptions) -> KeptSubscription:
    subscription = subscriptions.open()
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


def test_the_next_subscription_has_the_connection_and_none_of_the_messages(
    own_redis: RedisProcess, pool: redis.ConnectionPool
) -> None:
    subscriptions = Subscriptions(pool)
    with own_redis.client() as server:
        first = _subscribed(subscriptions)
        connection = first.connection
        eventually(lambda: server.publish("a", "x") and server.publish("b", "x"))
        first.unsubscribe("a")  # type: ignore[no-untyped-call]
        first.close()
        first.close()
        eventually(lambda: server.pubsub_channels() == [])
        second = subscriptions.open()
        second.subscribe("c")
        assert second.connection is connection
        eventually(lambda: server.publish("c", "y"))
        message = eventually(lambda: second.get_message(timeout=0.1))
        assert (message["channel"], message["data"]) == (b"c", b"y")
        second.close()


def test_two_subscriptions_at_a_time_have_two_connections(pool: redis.ConnectionPool) -> None:
    subscriptions = Subscriptions(pool)
    first, second = (_subscribed(subscriptions) for _ in range(2))
    assert first.connection is not second.connection
    first.close()
    second.close()


@pytest.mark.parametrize("ends", ["while Redis is away", "before Redis restarts"])
def test_a_connection_that_redis_has_closed_is_not_used_again(
    own_redis: RedisProcess, pool: redis.ConnectionPool, ends: str
) -> None:
    subscriptions = Subscriptions(pool)
    subscription = _subscribed(subscriptions)
    connection: Any = subscription.connection
    if ends == "before Redis restarts":
        subscription.close()
    own_redis.stop()
    subscription.close()
    own_redis.start()
    assert subscriptions.take() is None
    assert not connection.is_connected
    _subscribed(subscriptions).close()


def test_a_connection_to_a_frozen_redis_is_not_waited_for(
    own_redis: RedisProcess, pool: redis.ConnectionPool
) -> None:
    subscriptions = Subscriptions(pool)
    subscription = _subscribed(subscriptions)
    connection: Any = subscription.connection
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        subscription.close()
        assert subscriptions.take() is None
        assert not connection.is_connected
    finally:
        own_redis.process.send_signal(signal.SIGCONT)


def test_a_forked_process_leaves_the_connection_to_its_parent(
    pool: redis.ConnectionPool,
) -> None:
    subscriptions = Subscriptions(pool)
    _subscribed(subscriptions).close()
    child = os.fork()
    if not child:
        os._exit(subscriptions.take() is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert subscriptions.take() is not None
