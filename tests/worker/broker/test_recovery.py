"""Messages of lost workers: requeued once and in order, counted, or dead-lettered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest
import redis
from celery.result import AsyncResult
from kombu import Connection

from sentq import Settings
from sentq.connection.app import make_app
from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
)
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq_worker.broker.channel import Channel, Transport
from sentq_worker.broker.recovery import LostJobRecovery
from sentq_worker.broker.results import ResultStore, succeeded
from tests.support.celery.dead_letters import read_dead_letters
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess
from tests.support.redis_state import lost_deliveries_of, set_lost_deliveries

REASON: Final = "the worker was lost"

LOST_ONCE: Final = {"count": 1, "first_error": REASON, "last_error": REASON}


class _Delegate:
    """A consumer that takes no message itself."""

    worker = "me@here"

    def take_plain(self, _envelope: dict[str, Any], _tag: str) -> bool:
        return False

    def on_dead_letter(self, _headers: Mapping[str, object], _reason: str) -> None:
        return


@contextmanager
def _channel(url: str, **options: Any) -> Iterator[Channel]:
    with Connection(url, transport=Transport, transport_options=options) as connection:
        channel = connection.channel()
        channel.attach(_Delegate())
        yield channel


@pytest.fixture
def channel(redis_server: RedisProcess) -> Iterator[Channel]:
    with _channel(redis_server.url) as channel:
        yield channel


@pytest.fixture(params=[0, 1], ids=["one database", "results in another"])
def app(request: pytest.FixtureRequest, redis_server: RedisProcess) -> Iterator[Any]:
    results = f"redis://127.0.0.1:{redis_server.port}/{request.param}"
    settings = Settings.load(broker_url=redis_server.url, result_url=results)
    with closing_results(make_app(settings)) as app:
        yield app


@pytest.fixture
def lost(channel: Channel, app: Any) -> LostJobRecovery:
    return LostJobRecovery(channel, ResultStore(app))


def _message(job_id: str, *, priority: int = 0, **headers: Any) -> dict[str, Any]:
    return {
        "body": "W1s",
        "headers": {"task": "sentq.score", "id": job_id, **headers},
        "properties": {"priority": priority, "delivery_info": {"routing_key": "sentq"}},
    }


def _record(
    server: redis.Redis, tag: str, message: Any, *, age_s: float = 1e6, queue: str = "sentq"
) -> tuple[str, bytes]:
    """Record a message as unacknowledged, and return what the reaper finds: tag and entry."""
    raw = json.dumps([message, "", queue]).encode()
    server.hset("unacked", tag, raw)
    seconds, _ = server.time()
    server.zadd("unacked_index", {tag: seconds - age_s})
    return tag, raw


def _queue(server: redis.Redis, key: str = "sentq") -> list[dict[str, Any]]:
    """Return the queued messages in the order in which workers take them."""
    raws: Any = server.lrange(key, 0, -1)
    return [json.loads(raw) for raw in reversed(raws)]


def _alone(tag: str, **headers: Any) -> dict[str, Any]:
    mark = {"worker": "gpu0@there", "at_s": 1.5, "tag": tag}
    return {ALONE_HEADER: mark} | headers


def test_lost_jobs_are_requeued_at_the_head_in_order_and_counted(
    lost: LostJobRecovery, server: redis.Redis
) -> None:
    server.lpush("sentq", json.dumps(_message("newer")))
    entries = [_record(server, f"t{n}", _message(f"job{n}")) for n in range(3)]
    entries.append(_record(server, "t3", _message("urgent", priority=6)))
    entries.append(_record(server, "t4", _message("bulk"), queue="sentq.bulk"))
    assert lost.requeue(server, entries, REASON) == 5
    messages = _queue(server)
    assert [m["headers"]["id"] for m in messages] == ["job0", "job1", "job2", "newer"]
    first = messages[0]["headers"]
    assert lost_deliveries_of(server, "job0") == LOST_ONCE
    assert server.ttl("sentq.deliveries:job0") > 24 * 60 * 60
    assert first["redelivered"]
    assert messages[0]["properties"]["delivery_info"]["redelivered"]
    assert not any(DELIVERIES_HEADER in message["headers"] for message in messages)
    assert lost_deliveries_of(server, "newer") is None
    assert [m["headers"]["id"] for m in _queue(server, "sentq\x06\x166")] == ["urgent"]
    assert [m["headers"]["id"] for m in _queue(server, "sentq.bulk")] == ["bulk"]
    assert not server.exists("unacked", "unacked_index")


def test_the_first_error_is_kept_and_the_last_error_is_replaced(
    lost: LostJobRecovery, server: redis.Redis
) -> None:
    set_lost_deliveries(server, "a", 1, "x")
    lost.requeue(server, [_record(server, "t", _message("a"))], REASON)
    assert lost_deliveries_of(server, "a") == {"count": 2, "first_error": "x", "last_error": REASON}


def test_what_a_sender_says_about_deliveries_counts_for_nothing(
    lost: LostJobRecovery, server: redis.Redis
) -> None:
    forged: dict[str, Any] = {DELIVERIES_HEADER: 2, FIRST_ERROR_HEADER: "x", LAST_ERROR_HEADER: "x"}
    lost.requeue(server, [_record(server, "t", _message("a", **forged))], REASON)
    assert lost_deliveries_of(server, "a") == LOST_ONCE
    assert not set(forged) & set(_queue(server)[0]["headers"])


@pytest.mark.parametrize("count", [-1, 0, True, "2", 1.5, None, [1]])
def test_an_invalid_count_of_deliveries_counts_as_zero(
    lost: LostJobRecovery, server: redis.Redis, count: Any
) -> None:
    set_lost_deliveries(server, "a", count, "x")
    lost.requeue(server, [_record(server, "t", _message("a"))], REASON)
    assert (lost_deliveries_of(server, "a") or {})["count"] == 1


def test_a_lease_renewed_meanwhile_is_not_reclaimed(
    lost: LostJobRecovery, server: redis.Redis
) -> None:
    late = _record(server, "late", _message("a"), age_s=0)
    poison = _record(server, "poison", _message("b", **_alone("poison")), age_s=0)
    unreadable = _record(server, "unreadable", {"no": "message"}, age_s=0)
    assert lost.requeue(server, [late, poison, unreadable], REASON, timeout_s=30) == 0
    assert server.hlen("unacked") == server.zcard("unacked_index") == 3
    assert not server.exists("sentq", DEAD_LETTERS_KEY)


def test_two_reapers_requeue_a_message_once(lost: LostJobRecovery, server: redis.Redis) -> None:
    entries = [
        _record(server, "t", _message("a")),
        _record(server, "p", _message("b", **_alone("p"))),
    ]
    assert [lost.requeue(server, entries, REASON, timeout_s=30) for _ in range(2)] == [1, 0]
    assert server.llen("sentq") == 1
    assert server.xlen(DEAD_LETTERS_KEY) == 1


def test_a_job_lost_while_it_ran_alone_is_dead_lettered_and_fails(
    lost: LostJobRecovery, app: Any, server: redis.Redis
) -> None:
    set_lost_deliveries(server, "a", 2, "the first")
    entry = _record(server, "t", _message("a", **_alone("t")))
    assert lost.requeue(server, [entry], REASON, timeout_s=30) == 0
    assert lost_deliveries_of(server, "a") is None
    (dead_letter,) = read_dead_letters(server)
    assert dead_letter.model_dump(exclude={"id", "message"}) == {
        "code": "worker_lost",
        "reason": "the worker was lost while it ran this job alone",
        "job_id": "a",
        "deliveries": 3,
        "first_error": "the first",
        "last_error": REASON,
        "worker": "gpu0@there",
        "queue": "sentq",
        "size_bytes": None,
    }
    assert ALONE_HEADER not in json.loads(dead_letter.message)["headers"]
    assert not server.exists("unacked", "unacked_index", "sentq")
    result = AsyncResult("a", app=app)
    assert result.state == "FAILURE"
    with pytest.raises(Exception, match="3 workers were lost over this job"):
        result.get(timeout=5)


def test_a_stored_result_is_kept_when_the_message_is_dead_lettered(
    lost: LostJobRecovery, app: Any, server: redis.Redis
) -> None:
    ResultStore(app).store({"a": succeeded("a", {"n": 1})})
    lost.requeue(server, [_record(server, "t", _message("a", **_alone("t")))], REASON)
    assert AsyncResult("a", app=app).get(timeout=5) == {"n": 1}
    assert server.xlen(DEAD_LETTERS_KEY) == 1


@pytest.mark.parametrize("headers", [{"ignore_result": True}, {"task": "another"}, {"id": None}])
def test_no_result_is_stored_where_none_was_requested(
    lost: LostJobRecovery, app: Any, server: redis.Redis, headers: dict[str, Any]
) -> None:
    lost.requeue(server, [_record(server, "t", _message("a", **_alone("t", **headers)))], REASON)
    assert server.xlen(DEAD_LETTERS_KEY) == 1
    assert AsyncResult("a", app=app).state == "PENDING"


def test_an_alone_mark_of_an_older_delivery_does_not_dead_letter_a_job(
    lost: LostJobRecovery, server: redis.Redis
) -> None:
    set_lost_deliveries(server, "a", 2, "the first")
    entry = _record(server, "t", _message("a", **_alone("the tag of an older delivery")))
    assert lost.requeue(server, [entry], REASON) == 1
    assert (lost_deliveries_of(server, "a") or {})["count"] == 3
    assert ALONE_HEADER not in _queue(server)[0]["headers"]


@pytest.mark.parametrize("entry", [b"", b"{", b"[1]", b'[{}, "", "sentq"]', b'[[], "", 5]'])
def test_an_unreadable_entry_becomes_a_dead_letter(
    lost: LostJobRecovery, server: redis.Redis, entry: bytes
) -> None:
    server.hset("unacked", "t", entry)
    server.zadd("unacked_index", {"t": 1})
    lost.requeue(server, [("t", entry)], REASON, timeout_s=30)
    (dead_letter,) = read_dead_letters(server)
    assert (dead_letter.code, dead_letter.message) == ("malformed", entry)
    assert not server.exists("unacked", "unacked_index")


def test_a_job_is_marked_alone_while_unacknowledged_and_unmarked_when_requeued(
    channel: Channel, server: redis.Redis
) -> None:
    _record(server, "t", _message("a"))
    channel.qos.add("t", 10)
    assert channel.qos.mark_alone("t", "me@here")
    raw: Any = server.hget("unacked", "t")
    mark = json.loads(raw)[0]["headers"][ALONE_HEADER]
    assert (mark["worker"], mark["tag"]) == ("me@here", "t")
    channel.qos.unmark("t")  # The engine is unavailable, and the job waits.
    raw = server.hget("unacked", "t")
    assert json.loads(raw) == [_message("a"), "", "sentq"]
    assert channel.qos.mark_alone("t", "me@here")
    assert not channel.qos.mark_alone("gone", "me@here")
    assert not server.hexists("unacked", "gone")
    channel.qos.restore_unacked()  # As at the close of the connection.
    headers = _queue(server)[0]["headers"]
    assert ALONE_HEADER not in headers
    assert DELIVERIES_HEADER not in headers  # A requeued job is not counted as lost.


def test_a_new_channel_adopts_jobs_in_flight_and_requeues_the_rest(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with _channel(redis_server.url) as old, _channel(redis_server.url) as new:
        for tag in ("in flight", "requeued"):
            _record(server, tag, _message(tag))
            old.qos.add(tag, 10)
        old.qos.kept_tags = new.qos.kept_tags = lambda: {"in flight"}
        new.qos.adopt(old.qos)
        assert (old.qos.tags(), new.qos.tags()) == ([], ["in flight"])
        assert [m["headers"]["id"] for m in _queue(server)] == ["requeued"]
        assert server.hkeys("unacked") == [b"in flight"]
        new.qos.release(["in flight"])


def test_a_key_prefix_applies_to_all_keys(redis_server: RedisProcess, server: redis.Redis) -> None:
    options = {"global_keyprefix": "acme:"}
    settings = Settings.load(broker_url=redis_server.url, transport_options=options)
    with (
        closing_results(make_app(settings)) as app,
        _channel(redis_server.url, **options) as channel,
    ):
        lost = LostJobRecovery(channel, ResultStore(app))
        entries = []
        for tag, headers in (("t", {}), ("p", _alone("p"))):
            raw = json.dumps([_message(tag, **headers), "", "sentq"]).encode()
            server.hset("acme:unacked", tag, raw)
            server.zadd("acme:unacked_index", {tag: 1})
            entries.append((tag, raw))
        assert lost.requeue(channel.own_client(), entries, REASON, timeout_s=30) == 1
    keys: Any = server.keys("*")
    assert sorted(keys) == [
        *(b"acme:celery-task-meta-p", b"acme:sentq"),
        *(b"acme:sentq.dead", b"acme:sentq.deliveries:t"),
    ]
