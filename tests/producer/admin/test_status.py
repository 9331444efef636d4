"""`sentq status`: queued jobs, jobs in flight, and workers."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from sentq import Client, Settings, errors
from sentq.cli import app
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq.wire.reports import ReportedBudget, WorkerReport, write_report
from tests.support.processes import RedisProcess


def _status(url: str, *options: str) -> Any:
    return CliRunner().invoke(
        app, ["status", "--broker-url", url, *options], catch_exceptions=False
    )


def _report(server: RedisProcess, **about: Any) -> None:
    now_s = time.time()
    fields = {
        "worker": "celery@here",
        "queues": ("sentq",),
        "jobs_per_s": 12.5,
        "in_flight_jobs": 3,
        "jobs_finished": 1000,
        "model": "owner/name",
        "backend": "local:cpu",
    }
    report = WorkerReport(at_s=now_s - 1, started_at_s=now_s - 7200, **(fields | about))
    with server.client() as redis:
        write_report(redis, report, lifetime_s=60)


def test_status_without_workers_says_what_to_do(redis_server: RedisProcess) -> None:
    shown = _status(redis_server.url)
    assert shown.exit_code == 3
    assert "no worker reports: start one with sentq-worker" in shown.stderr
    assert "sentq.bulk" in shown.stdout


def test_status_shows_queued_jobs_and_workers(redis_server: RedisProcess, client: Client) -> None:
    client.submit_many(["CANARY"] * 5)
    time.sleep(0.01)
    client.submit("CANARY", bulk=True)
    with redis_server.client() as redis:
        redis.lpush("sentq\x06\x163", "no message")
        redis.zadd("unacked_index", {"a": 1, "b": 1})
        redis.zadd("sentq.scheduled", {"a": 1, "b": 1, "c": 1})
        fields = dead_letter_fields(code="malformed", reason="r", message=b"CANARY")
        redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)
    _report(redis_server)
    _report(redis_server, worker="celery@there", breaker="open", waiting_for="the Hub is away")
    seen = client.service_status()
    single, bulk = seen.queues
    assert (single.waiting_jobs, bulk.waiting_jobs) == (6, 1)
    assert single.oldest_s is not None
    assert 0 <= single.oldest_s < 60
    assert (seen.in_flight_jobs, seen.scheduled_jobs, seen.dead_letters) == (2, 3, 1)
    assert [report.worker for report in seen.workers] == ["celery@here", "celery@there"]

    shown = _status(redis_server.url)
    assert shown.exit_code == 0
    assert "CANARY" not in shown.output
    assert "sentq dead list" in shown.stderr
    printed = _status(redis_server.url, "--json")
    assert json.loads(printed.stdout)["queues"][0]["waiting_jobs"] == 6
    assert json.loads(printed.stdout)["workers"][1]["breaker"] == "open"


def test_status_on_a_terminal_has_a_line_per_worker(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    _report(redis_server, waiting_for="the Hub is away", breaker="open")
    shown = _status(redis_server.url)
    (line,) = (line for line in shown.stdout.splitlines() if "celery@here" in line)
    says = "the Hub is away; the Hub's breaker is open"
    for word in ("owner/name local:cpu", "12.5", "1,000", "2.0 h", says):
        assert word in line
    assert "no worker can score at the moment" in shown.stderr


def test_status_shows_what_workers_have_used_of_the_hubs_budget(
    redis_server: RedisProcess, client: Client
) -> None:
    now_s = time.time()

    def use(unit: str, used: int, limit: int, *, ago_s: float, **about: Any) -> ReportedBudget:
        fields = {"period": "day", "is_used_up": False, "at_s": now_s - ago_s, **about}
        return ReportedBudget(unit=unit, used=used, limit=limit, **fields)

    # Each worker knows what all had used when it made its last call.
    chars = use("chars", 960, 1000, ago_s=60, period="month", is_used_up=True)
    _report(redis_server, hub_budget=(use("calls", 40, 100, ago_s=60), chars))
    newer = (use("calls", 41, 100, ago_s=1), use("calls", 9, 9, ago_s=1, period="week"))
    _report(redis_server, worker="celery@there", hub_budget=newer)
    _report(redis_server, worker="celery@other", hub_budget=(use("calls", 30, 41, ago_s=90),))
    found = client.service_status().hub_budget
    assert [(each.period, each.unit, each.used, each.limit, each.remaining) for each in found] == [
        ("day", "calls", 41, 41, 0),
        ("day", "calls", 41, 100, 59),
        ("month", "chars", 960, 1000, 40),
    ]
    assert [each.is_used_up for each in found] == [True, False, True]
    day_ends_at, month_ends_at = (datetime.fromtimestamp(each.ends_at_s, UTC) for each in found[1:])
    assert 0 < day_ends_at.timestamp() - now_s <= 86400
    assert (day_ends_at.hour, day_ends_at.minute) == (0, 0)
    assert (month_ends_at - timedelta(days=1)).month == datetime.fromtimestamp(now_s, UTC).month
    assert (month_ends_at.day, month_ends_at.hour) == (1, 0)
    shown = _status(redis_server.url).stdout
    assert f"41 of 100 calls a day, 59 left until {day_ends_at:%Y-%m-%d} 00:00 UTC" in shown
    assert "960 of 1,000 chars a month, used up until" in shown
    printed = json.loads(_status(redis_server.url, "--json").stdout)
    assert printed["hub_budget"][0]["remaining"] == 0


def test_status_shows_queues_of_other_names_and_prefixes(redis_server: RedisProcess) -> None:
    settings = Settings.load(
        broker_url=redis_server.url, queue="mine", transport_options={"global_keyprefix": "a:"}
    )
    with Client(settings) as client:
        client.submit("text")
        queue = client.service_status().queues[0]
    assert (queue.name, queue.waiting_jobs) == ("mine", 1)


def test_an_unavailable_redis_is_a_typed_error(own_redis: RedisProcess) -> None:
    own_redis.stop()
    with Client(broker_url=own_redis.url) as client, pytest.raises(errors.BrokerUnavailable):
        client.service_status()


# --- For scripts, and for watching ---------------------------------------------------------


def test_status_tells_scripts_that_the_oldest_job_is_too_old(
    redis_server: RedisProcess, client: Client
) -> None:
    _report(redis_server, in_flight_jobs=0, pace_jobs_per_s=2.0)
    assert _status(redis_server.url, "--older-than", "1s").exit_code == 0, "there is no job"
    client.submit_many([["a", "b"], ["c", "d"]])
    assert _status(redis_server.url, "--older-than", "5m").exit_code == 0
    time.sleep(0.01)
    late = _status(redis_server.url, "--older-than", "0.001s", "--json")
    assert late.exit_code == 4
    assert "the oldest job was sent" in late.stderr
    seen = json.loads(late.stdout)
    assert (seen["backlog_jobs"], seen["backlog_texts"], seen["drain_s"]) == (2, 4, 1.0)
    shown = _status(redis_server.url).stdout
    assert "2 jobs, about 4 texts" in shown
    assert "drained in    1 s, at 2.0 jobs/s" in shown
    assert _status(redis_server.url, "--older-than", "soon").exit_code == 2
    _report(redis_server, in_flight_jobs=0, pace_jobs_per_s=2e-7)  # The engine has stood.
    unknown = "drained in    unknown: more than 30.0 d at 2e-07 jobs/s"
    assert unknown in _status(redis_server.url).stdout


def test_status_watches_until_it_is_interrupted(
    redis_server: RedisProcess, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _report(redis_server)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        client.submit("text")
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("sentq.cli.status.time.sleep", nap)
    watched = _status(redis_server.url, "--watch", "--json", "--interval", "0.5")
    assert watched.exit_code == 0
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [line["backlog_jobs"] for line in lines] == [0, 1, 2]
    assert naps == [0.5] * 3
    naps.clear()
    assert _status(redis_server.url, "--watch").stdout.count("dead letters") == 3


# --- Batches -------------------------------------------------------------------------------


def test_status_shows_the_progress_of_a_batch(redis_server: RedisProcess, client: Client) -> None:
    batch = client.batch(f"CANARY {number}" for number in range(1200))
    next(batch.jobs()).cancel()
    shown = _status(redis_server.url, "--batch", batch.id)
    assert shown.exit_code == 0, "it needs no worker"
    rows = dict(line.split() for line in shown.stdout.splitlines())
    assert rows == {
        "jobs": "1,200",
        "done": "0",
        "failed": "0",
        "cancelled": "1",
        "remaining": "1,199",
        "state": "closed",
    }
    printed = json.loads(_status(redis_server.url, "--batch", batch.id, "--json").stdout)
    assert (printed["total"], printed["cancelled"], printed["is_complete"]) == (1200, 1, False)


def test_status_of_an_unknown_batch_is_an_error(redis_server: RedisProcess) -> None:
    with pytest.raises(errors.UnknownBatch):
        _status(redis_server.url, "--batch", "0192f0c1-7d3c-7aaa-8bbb-0123456789ab")
    with pytest.raises(errors.InvalidInput):
        _status(redis_server.url, "--batch", "all")
