"""Every key of sentq is in the table of docs/architecture.md, and expires or is bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import group
from fastapi.testclient import TestClient

from sentq import Client, Settings
from sentq.connection.broker import BrokerKeys, BrokerRedis
from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.webhooks.store import Settlement, WebhookLimits, settle_steps, take_steps
from sentq.wire.dead_letters import dead_letter_fields
from sentq.wire.lua import load_script
from sentq.wire.reports import WorkerReport, write_report
from sentq.wire.roll.report import RollReport
from sentq_worker.broker.dead_letters import DeadLetterTarget, dead_letter
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.hub.budget import Budget, BudgetLimits
from tests.support.celery.site import stock_app
from tests.support.gateway.keys import with_new_key
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.webhooks.deliveries import job_message

PAGE: Final = Path(__file__).parents[2] / "docs" / "architecture.md"

#: What a name in the table stands for.
_PRIORITY: Final = "(\x06\x16[369])?"


@dataclass(frozen=True)
class Key:
    """A row of the table.

    Attributes:
        names: What a key of the row matches.
        kept: The last column.
    """

    names: tuple[re.Pattern[str], ...]
    kept: str

    @property
    def expires(self) -> bool:
        return self.kept.startswith("TTL: ")

    @property
    def is_bounded(self) -> bool:
        return "bound: " in self.kept


def _table() -> Iterator[Key]:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## Names in Redis\n")
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names, _, _, kept = (cell.strip() for cell in line.strip("|").split(" | "))
            patterns = tuple(_pattern(name) for name in re.findall(r"`([^`]+)`", names))
            yield Key(patterns, kept)


def _pattern(name: str) -> re.Pattern[str]:
    parts = [re.escape(part) for part in re.split(r"<[^>]*>", name)]
    return re.compile(".*".join(parts) + _PRIORITY, re.DOTALL)


KEYS: Final = tuple(_table())


def _row_of(key: str) -> Key:
    rows = [row for row in KEYS if any(pattern.fullmatch(key) for pattern in row.names)]
    assert rows, f"{key!r} is not in the table of {PAGE.name}"
    return rows[0]


def _check(server: redis.Redis) -> set[str]:
    """Check all keys, and return them."""
    found = [key.decode() for key in server.scan_iter(count=1000)]
    for key in found:
        row = _row_of(key)
        assert row.expires or row.is_bounded, key
        ttl_s: Any = server.ttl(key)
        assert ttl_s == -2 or not row.expires or ttl_s > 0, f"{key!r} never expires"
    return set(found)


def _use_a_gateway(settings: Settings) -> None:
    key = with_new_key(settings, requests_per_minute=1).key
    with TestClient(make_gateway(settings, GatewaySettings.load(), Closing())) as http:
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "key"}
        assert http.post("/v1/jobs", json={"texts": "x"}, headers=headers).status_code == 202
    uploader = with_new_key(settings, "uploader").key
    with TestClient(make_gateway(settings, GatewaySettings.load(), Closing())) as http:
        headers = {"Authorization": f"Bearer {uploader}", "Content-Type": "application/jsonl"}
        assert http.post("/v1/batches", content=b'"x"', headers=headers).status_code == 202
        assert http.post("/console/login", data={"key": uploader}).status_code == 200


@pytest.mark.unit
def test_the_table_says_of_each_key_how_long_it_is_kept() -> None:
    assert len(KEYS) >= 12
    assert all(row.expires or row.is_bounded for row in KEYS)


def _leave_webhooks(server: redis.Redis) -> None:
    """Leave a webhook in each place: in the queue, waiting, and dead since its receiver is gone."""
    limits = WebhookLimits(max_waiting=2, max_dead=9, dead_ttl_s=60)
    for number in range(3):
        server.lpush("sentq.webhooks", job_message("http://receiver.test", f"job-{number}"))
    taken = BrokerRedis(redis=server).run(
        take_steps(BrokerKeys(), most=2, lease_s=60, limits=limits, most_per_host=9, in_flight={})
    )
    gone = settle_steps(
        BrokerKeys(),
        taken.webhooks[0],
        Settlement.GONE,
        limits=limits,
        fields={"url": "http://receiver.test"},
    )
    assert BrokerRedis(redis=server).run(gone)


def _roll_a_model(server: redis.Redis, client: Client) -> None:
    now_s = time.time()
    roll = RollReport(names=("candidate",))
    report = WorkerReport(worker="other", at_s=now_s, started_at_s=now_s, roll=roll)
    write_report(server, report, lifetime_s=60)
    client.models.roll("candidate")


@pytest.mark.slow
@pytest.mark.process
def test_every_key_is_known_and_expires_or_is_bounded(
    redis_server: RedisProcess, tmp_path: Path
) -> None:
    environment = {"SENTQ_BROKER_URL": redis_server.url}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",))
    seen: set[str] = set()
    with (
        redis_server.client() as server,
        Client(broker_url=redis_server.url) as client,
        stock_app(redis_server.url) as stock,
    ):
        # Before a worker takes them: jobs that wait, keys, a cancelled job.
        client.submit("text", key="key")
        client.submit("text").cancel()
        many = list(client.submit_many([["a"], ["b"]]))
        client.batch([["c"], ["d"]], then=stock.signature("shop.store").set(queue="sentq")).cancel()
        stock.send_task("sentq.score", args=[["low"]], queue="sentq", priority=9)
        stock.send_task("sentq.score", args=[["bulk"]], queue="sentq.bulk")
        stock.send_task("sentq.score", args=[["later"]], queue="sentq", countdown=3600)
        _use_a_gateway(Settings.load(broker_url=redis_server.url))
        _roll_a_model(server, client)
        seen |= _check(server)
        try:
            worker.wait_until_ready()
            assert many[0].result(timeout=30).outcomes
            eventually(lambda: server.exists("sentq.scheduled"))
            signature = stock.signature("sentq.score", args=(["part"],), queue="sentq")
            done = group(signature, signature, app=stock).apply_async()
            done.save()
            assert len(done.get(timeout=30)) == 2
            assert stock.control.inspect(timeout=5).ping()
            server.lpush("sentq", "no message")
            eventually(lambda: server.exists("sentq.dead"))
            connect = partial(redis_server.client)
            Budget(connect, BudgetLimits(calls_per_day=9)).reserve(10)
            state = SharedBreakerState(connect, host="host")
            state.write("local", Breaker("local", failures=1, probe_interval_s=1).snapshot)
            assert state.may_probe("local", for_s=5)
            server.hset("unacked", "tag", "entry")
            server.zadd("unacked_index", {"tag": time.time()})
            target = DeadLetterTarget("unacked", "unacked_index", "sentq.dead", 60, 4_000_000)
            fields = dead_letter_fields(code="malformed", reason="r", message=b"m")
            assert dead_letter(server, target, "tag", fields)
            cache = load_script("sentq_worker.providers", "keep_outcomes")
            cache.run(server, ["sentq.cache", "sentq.cache:hash"], [9, 60, "outcome"])
            _leave_webhooks(server)
            seen |= _check(server)
        finally:
            code = worker.stop()
        assert code == 0, worker.log
        seen |= _check(server)
    names = {name.pattern for row in KEYS for name in row.names}
    found = {name.pattern for row in KEYS for name in row.names if any(map(name.fullmatch, seen))}
    # These exist for moments, or after a worker was lost.
    rare = ("unacked", "pidbox", "deliveries")
    fleeting = {name for name in names if any(part in name for part in rare)}
    assert names - found <= fleeting
