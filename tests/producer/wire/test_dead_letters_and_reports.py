"""Dead letters and worker reports: written to Redis and read from it."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from sentq.wire.dead_letters import (
    DEAD_LETTERS_KEY,
    DeadLetter,
    DeadLetterCode,
    dead_letter_fields,
    parse_dead_letter,
)
from sentq.wire.lua import resolve_includes
from sentq.wire.reports import WorkerReport, read_reports, report_key, write_report
from tests.support.processes import RedisProcess

_APPEND = resolve_includes(
    "-- include: append_dead_letter\nreturn append_dead_letter(KEYS[1], ARGV[1], {unpack(ARGV, 2)})"
)


def _letters(server: RedisProcess) -> list[DeadLetter]:
    with server.client() as redis:
        return [parse_dead_letter(*entry) for entry in redis.xrange(DEAD_LETTERS_KEY)]


def test_a_dead_letter_is_read_as_it_was_written(redis_server: RedisProcess) -> None:
    about = {
        "code": DeadLetterCode.WORKER_LOST,
        "reason": "three workers were lost over it",
        "job_id": "an-id",
        "deliveries": 3,
        "first_error": "the worker was lost",
        "last_error": "the worker was lost",
        "worker": "celery@host",
        "queue": "sentq",
        "message": b'{"body": "CANARY \xff"}',
    }
    with redis_server.client() as redis:
        redis.eval(_APPEND, 1, DEAD_LETTERS_KEY, 60, *dead_letter_fields(**about))  # type: ignore[arg-type]
        redis.eval(
            _APPEND,
            *(1, DEAD_LETTERS_KEY, 60),
            *dead_letter_fields(
                code="malformed", reason="it is not a Celery message", message=b"\x00"
            ),
        )
    full, bare = _letters(redis_server)
    assert full.model_dump(exclude={"id"}) == about | {"size_bytes": None}
    assert abs(full.at_s - time.time()) < 60
    assert (bare.message, bare.job_id, bare.worker, bare.deliveries) == (b"\x00", None, None, 0)
    assert "CANARY" not in repr(full)
    assert "CANARY" not in str(full)


def test_expired_dead_letters_are_deleted_when_one_is_written(redis_server: RedisProcess) -> None:
    fields = dead_letter_fields(code="malformed", reason="r", message=b"m")
    with redis_server.client() as redis:
        two_minutes_ago_ms = int(redis.time()[0] - 120) * 1000
        redis.execute_command("XADD", DEAD_LETTERS_KEY, f"{two_minutes_ago_ms}-0", *fields)
        redis.eval(_APPEND, 1, DEAD_LETTERS_KEY, 180, *fields)
        assert len(_letters(redis_server)) == 2
        redis.eval(_APPEND, 1, DEAD_LETTERS_KEY, 60, *fields)
    assert len(_letters(redis_server)) == 2
    assert all(time.time() - dead_letter.at_s < 60 for dead_letter in _letters(redis_server))


def test_a_foreign_entry_is_a_validation_error_without_its_text() -> None:
    for fields in ({b"code": b"c", b"text": b"CANARY"}, {b"deliveries": b"CANARY"}):
        with pytest.raises(ValidationError) as refused:
            parse_dead_letter(b"1-0", fields)
        assert "CANARY" not in str(refused.value)


def test_reports_expire_with_their_workers(redis_server: RedisProcess) -> None:
    now_s = time.time()
    here = WorkerReport(
        worker="celery@here",
        at_s=now_s,
        started_at_s=now_s - 5,
        queues=("sentq", "sentq.bulk"),
        jobs_finished=10,
        jobs_per_s=2.5,
        in_flight_jobs=1,
        model="owner/name",
        backend="local:cpu",
        dtype="float32",
    )
    there = here.model_copy(update={"worker": "celery@thére", "breaker": "open"})
    with redis_server.client() as redis:
        assert read_reports(redis) == []
        write_report(redis, there, lifetime_s=60)
        write_report(redis, here, lifetime_s=60)
        write_report(redis, here.model_copy(update={"jobs_finished": 11}), lifetime_s=60)
        assert read_reports(redis) == [here.model_copy(update={"jobs_finished": 11}), there]
        assert 0 < redis.ttl(report_key("celery@here")) <= 60
        # An expired report: Redis has deleted it, but the index has not yet.
        redis.delete(report_key("celery@here"))
        redis.set(report_key("celery@broken"), "{")
        redis.zadd("sentq.workers", {"celery@broken": now_s + 60, "celery@old": 1})
        assert read_reports(redis) == [there]
        write_report(redis, there, lifetime_s=60)
        assert redis.zscore("sentq.workers", "celery@old") is None


def test_reports_of_another_prefix_are_not_read(redis_server: RedisProcess) -> None:
    report = WorkerReport(worker="w", at_s=1, started_at_s=1)
    with redis_server.client() as redis:
        write_report(redis, report, lifetime_s=60, prefix="other:")
        assert read_reports(redis) == []
        assert read_reports(redis, prefix="other:") == [report]
        assert all(key.startswith(b"other:") for key in redis.scan_iter())
