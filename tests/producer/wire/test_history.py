"""The history of the last hour: added to by workers, read as slots of 15 s."""

from __future__ import annotations

import pytest
import redis

from sentq import Client
from sentq.wire.history.reading import HistorySlot
from sentq.wire.history.slots import (
    HISTORY_S,
    SLOT_S,
    TEXTS_FIELD,
    add_to_history,
    jobs_field,
    seconds_field,
    slot_key,
    slot_of,
)
from sentq_worker.reports.history import HistoryWriter
from tests.support.processes import RedisProcess

COUNTS = {
    TEXTS_FIELD: 7,
    jobs_field("done", "sentq"): 2,
    jobs_field("done", "a:queue"): 1,
    jobs_field("failed", "sentq"): 1,
    seconds_field(0.01, 0.025, "sentq"): 2,
    seconds_field(1800, float("inf"), "a:queue"): 1,
}


def _read(server: RedisProcess) -> list[HistorySlot]:
    with Client(broker_url=server.url) as client:
        return client.service_history()


def test_counts_of_all_workers_are_added_up(redis_server: RedisProcess) -> None:
    with redis_server.client() as server:
        now_s = float(server.time()[0])
        for _ in range(2):
            add_to_history(server, COUNTS, at_s=now_s - 60)
        assert 0 < server.ttl(slot_key(slot_of(now_s - 60))) <= HISTORY_S + SLOT_S
    slots = _read(redis_server)
    assert len(slots) == HISTORY_S // SLOT_S
    assert [slot.at_s for slot in slots] == sorted(slot.at_s for slot in slots)
    assert 0 <= now_s + 1 - slots[-1].at_s < 2 * SLOT_S
    (filled,) = (slot for slot in slots if slot.texts)
    assert filled == HistorySlot(
        at_s=slot_of(now_s - 60) * SLOT_S,
        texts=14,
        jobs={"done": 6, "failed": 2},
        done_jobs={"sentq": 4, "a:queue": 2},
        seconds={(0.01, 0.025): 4, (1800.0, float("inf")): 2},
    )
    assert filled.jobs_per_s == 8 / SLOT_S
    assert filled.texts_per_s == 14 / SLOT_S


def test_the_history_is_bounded_and_older_slots_are_not_read(redis_server: RedisProcess) -> None:
    with redis_server.client() as server:
        now_s = float(server.time()[0])
        add_to_history(server, COUNTS, at_s=now_s - HISTORY_S - SLOT_S)
    assert not any(slot.texts for slot in _read(redis_server))


def test_a_field_of_another_version_is_left_out(redis_server: RedisProcess) -> None:
    with redis_server.client() as server:
        key = slot_key(slot_of(float(server.time()[0])))
        server.hset(key, mapping={"texts": 3, "new:field": "value", b"\xff": "bytes"})
    assert sum(slot.texts for slot in _read(redis_server)) == 3


def test_quantiles_are_estimated_within_the_bounds_of_a_bucket() -> None:
    slot = HistorySlot(0, seconds={(0.0, 1.0): 50, (1.0, 2.0): 40, (1800.0, float("inf")): 10})
    assert slot.quantile_s(0.25) == pytest.approx(0.5)
    assert slot.quantile_s(0.5) == pytest.approx(1.0)
    assert slot.quantile_s(0.7) == pytest.approx(1.5)
    assert slot.quantile_s(0.99) == 1800
    assert HistorySlot(0).quantile_s(0.5) is None


def test_a_worker_adds_what_is_new_and_repeats_what_was_not_written(
    redis_server: RedisProcess,
) -> None:
    writer = HistoryWriter()
    with redis_server.client() as server:
        now_s = float(server.time()[0])
        writer.write(server, {TEXTS_FIELD: 5}, now_s=now_s, prefix="")
        key = slot_key(slot_of(now_s))
        kept = server.dump(key)
        server.set(key, "of another type")
        with pytest.raises(redis.ResponseError):
            writer.write(server, {TEXTS_FIELD: 8}, now_s=now_s, prefix="")
        server.restore(key, 0, kept, replace=True)
        writer.write(server, {TEXTS_FIELD: 9}, now_s=now_s, prefix="")
        writer.write(server, {TEXTS_FIELD: 9}, now_s=now_s, prefix="")
        assert server.hgetall(key) == {b"texts": b"9"}


def test_nothing_is_written_for_an_idle_worker(redis_server: RedisProcess) -> None:
    with redis_server.client() as server:
        HistoryWriter().write(server, {TEXTS_FIELD: 0}, now_s=1.0, prefix="")
        assert not list(server.scan_iter())
