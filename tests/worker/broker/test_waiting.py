"""Waits of an idle channel, on a real Redis: what ends them, and what they find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from sentq_worker.broker.intake.waiting import Look, MessageWait
from tests.support.processes import RedisProcess
from tests.support.redis_state import full_memory, limited_user

KEYS: Final = ["sentq.scheduled", "sentq.batches", "list", "low"]
NOTHING: Final = Look(has_message=False, next_job_in_s=None, waiting_callbacks=0)
MESSAGE: Final = Look(has_message=True, next_job_in_s=None, waiting_callbacks=0)

#: Waits that the test ends.
LONG_S: Final = 20.0


@pytest.fixture
def server(server: redis.Redis) -> redis.Redis:
    Look.run(server, KEYS)  # Redis knows the script from now on.
    return server


@pytest.fixture
def connection(redis_server: RedisProcess) -> Iterator[redis.Connection]:
    connection = redis.Connection(port=redis_server.port)
    yield connection
    connection.disconnect()


def _wait(wait: MessageWait, connection: Any) -> Look | None:
    wait.send(connection, "list", "empty", KEYS)
    return wait.read(connection)


def _idle_wait(idle_poll_s: float) -> MessageWait:
    """Return a wait of a channel that had no work for long."""
    wait = MessageWait(idle_poll_s)
    wait._busy_at -= 3600
    return wait


def test_a_wait_without_messages_finds_nothing(
    server: redis.Redis, connection: redis.Connection
) -> None:
    assert _wait(MessageWait(1), connection) == NOTHING
    assert _wait(_idle_wait(0.1), connection) == NOTHING
    assert server.dbsize() == 0


def test_a_message_ends_a_wait_and_stays_where_it_is(
    server: redis.Redis, connection: redis.Connection
) -> None:
    wait = _idle_wait(LONG_S)
    wait.send(connection, "list", "empty", KEYS)
    server.lpush("list", "x" * 1_000_000)
    assert wait.read(connection) == MESSAGE
    assert server.llen("list") == 1


def test_a_message_of_another_list_is_found_at_the_end(
    server: redis.Redis, connection: redis.Connection
) -> None:
    server.lpush("low", "m")
    assert _wait(MessageWait(1), connection) == MESSAGE


def test_a_full_redis_refuses_to_wait_and_is_waited_for_in_another_way(
    server: redis.Redis, connection: redis.Connection
) -> None:
    wait = _idle_wait(LONG_S)
    with full_memory(server):
        assert _wait(wait, connection) is None
        wait.is_memory_full = True
        began_at = time.monotonic()
        assert _wait(wait, connection) is None
        assert time.monotonic() - began_at >= 0.04, "a pause, so that Redis is not asked at once"


def test_a_redis_that_has_lost_the_script_gets_it_again(
    server: redis.Redis, connection: redis.Connection
) -> None:
    server.script_flush()
    assert _wait(MessageWait(1), connection) is None
    assert _wait(MessageWait(1), connection) == NOTHING


def test_a_user_that_may_not_skip_replies_waits_too(server: redis.Redis) -> None:
    with limited_user(server, "~*", "+@all", "-client|reply") as limited:
        connection = limited.connection_pool.get_connection()
        wait = MessageWait(1)
        for _ in range(2):
            assert _wait(wait, connection) == NOTHING
        server.lpush("list", "message")
        for _ in range(2):
            assert _wait(wait, connection) == MESSAGE


def test_waits_grow_with_the_time_without_work_and_begin_anew_after_it() -> None:
    wait = _idle_wait(1.0)
    assert wait._next_length_s() == 1.0
    wait.has_looks_beside = True
    assert wait._next_length_s() > 1.0
    wait.work_seen()
    assert wait._next_length_s() < 0.1
