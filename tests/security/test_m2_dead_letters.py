"""Dead letters have a cap in bytes and a time to live, and workers keep to both."""

from __future__ import annotations

import time
from typing import Any, Final, cast

import pytest
import redis

from sentq import Settings, errors
from sentq.wire.dead_letters import dead_letter_fields
from sentq_worker.broker.dead_letters import DeadLetterTarget, dead_letter, trim_dead_letters
from tests.support.processes import RedisProcess, WorkerProcess, eventually

MAX_BYTES: Final = 4 * 1024 * 1024
TTL_S: Final = 60
TARGET: Final = DeadLetterTarget("unacked", "unacked_index", "sentq.dead", TTL_S, MAX_BYTES)


def _dead_letter(server: redis.Redis, message: bytes) -> None:
    server.hset("unacked", "tag", message)
    server.zadd("unacked_index", {"tag": time.time()})
    fields = dead_letter_fields(code="unknown_task", reason="r", message=message)
    assert dead_letter(server, TARGET, "tag", fields)


def _used_bytes(server: redis.Redis) -> int:
    return int(cast("int", server.memory_usage("sentq.dead", samples=0)))


def test_forty_large_messages_do_not_exceed_the_cap(server: redis.Redis) -> None:
    for number in range(40):
        _dead_letter(server, b"%d" % number + b"x" * 1_400_000)
        assert _used_bytes(server) <= MAX_BYTES
    entries = cast("list[Any]", server.xrange("sentq.dead"))
    assert [fields[b"message"][:2] for _, fields in entries] == [b"38", b"39"]


def test_many_small_messages_do_not_exceed_the_cap_by_more_than_a_few(server: redis.Redis) -> None:
    for _ in range(600):
        _dead_letter(server, b"x" * 20_000)
    assert _used_bytes(server) <= MAX_BYTES + 32 * 25_000
    assert server.xlen("sentq.dead") > 100
    trim_dead_letters(server, TARGET)
    assert _used_bytes(server) <= MAX_BYTES


def test_a_message_larger_than_the_cap_stays_alone(server: redis.Redis) -> None:
    _dead_letter(server, b"small")
    _dead_letter(server, b"x" * (MAX_BYTES + 1))
    assert server.xlen("sentq.dead") == 1


def test_the_stream_expires_with_its_newest_entry(server: redis.Redis) -> None:
    _dead_letter(server, b"message")
    assert 0 < server.ttl("sentq.dead") <= TTL_S


def test_trimming_removes_what_is_too_old_and_nothing_else(server: redis.Redis) -> None:
    trim_dead_letters(server, TARGET)
    assert not server.exists("sentq.dead")
    old_ms = round((time.time() - TTL_S - 60) * 1000)
    server.xadd("sentq.dead", {"message": "old"}, id=f"{old_ms}-0")
    _dead_letter(server, b"new")
    server.xadd("other", {"message": "old"}, id=f"{old_ms}-0")
    trim_dead_letters(server, TARGET)
    trim_dead_letters(server, TARGET)
    assert (server.xlen("sentq.dead"), server.xlen("other")) == (1, 1)


def test_a_refused_trim_is_logged_and_does_not_end_the_tick(
    server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.set("sentq.dead", "not a stream")
    trim_dead_letters(server, TARGET)
    assert "refuses to remove old dead letters" in caplog.text


def test_a_worker_trims_dead_letters_that_it_has_not_written(
    redis_server: RedisProcess, server: redis.Redis, tmp_path: Any
) -> None:
    old_ms = round((time.time() - 3600) * 1000)
    server.xadd("sentq.dead", {"message": "old"}, id=f"{old_ms}-0")
    environment = {"SENTQ_BROKER_URL": redis_server.url, "SENTQ_DEAD_LETTER_TTL_S": "600"}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",))
    try:
        worker.wait_until_ready()
        eventually(lambda: not server.xlen("sentq.dead"), what="an empty stream")
    finally:
        assert worker.stop() == 0


@pytest.mark.unit
def test_the_cap_holds_two_of_the_largest_messages() -> None:
    with pytest.raises(errors.SettingsError, match="dead_letter_max_bytes"):
        Settings.load(dead_letter_max_bytes=1_000_000)
