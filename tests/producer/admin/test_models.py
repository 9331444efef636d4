"""`sentq models`: what an operator may say, and how far the workers are, by their reports."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sentq import Client
from sentq.cli import app
from sentq.errors import InvalidInput
from sentq.wire.reports import ReportedModel, WorkerReport, write_report
from sentq.wire.roll.report import RollReport, RollStage
from sentq.wire.roll.state import ROLL_KEY
from tests.support.processes import RedisProcess


def _run(server: RedisProcess, *words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words, "--broker-url", server.url])


def _report(server: RedisProcess, worker: str, roll: RollReport | None, **about: Any) -> None:
    now_s = time.time()
    report = WorkerReport(worker=worker, at_s=now_s, started_at_s=now_s, roll=roll, **about)
    with server.client() as redis:
        write_report(redis, report, lifetime_s=60)


def test_a_roll_is_begun_promoted_and_rolled_back_step_by_step(
    redis_server: RedisProcess, client: Client
) -> None:
    _report(redis_server, "one", RollReport(names=("b", "c")))
    models = client.models
    begun = models.roll("b", share=0.25, shadow=True).state
    assert (begun.serving, begun.candidate, begun.share) == ("main", "b", 0.25)
    assert begun.is_shadow
    assert abs(begun.changed_at_s - time.time()) < 60
    assert models.roll("b").state.id != begun.id

    promoted = models.promote().state
    assert (promoted.serving, promoted.candidate, promoted.previous) == ("b", None, "main")
    with pytest.raises(InvalidInput, match="no model is being rolled"):
        models.promote()
    with pytest.raises(InvalidInput, match="serves already"):
        models.roll("b")

    models.roll("c")
    assert models.rollback().state.models == ("b",)  # The candidate is taken away.
    models.roll("c")
    models.promote()
    for serving in ("b", "main"):
        assert models.rollback().state.serving == serving
    with pytest.raises(InvalidInput, match="nothing to roll back: main serves"):
        models.rollback()


def test_a_wrong_name_or_share_changes_nothing(redis_server: RedisProcess, client: Client) -> None:
    _report(redis_server, "one", RollReport(names=("b",)))
    with pytest.raises(InvalidInput, match=r"\[worker\.models\.d\] .*; they have b"):
        client.models.roll("d")
    for share in (0.0, 1.01):
        with pytest.raises(InvalidInput, match="the share of a candidate"):
            client.models.roll("b", share=share)
    for share_text in ("5", "0%", "101%", "-5%", "half"):
        assert _run(redis_server, "roll", "b", "--canary", share_text).exit_code == 2
    with redis_server.client() as redis:
        assert redis.get(ROLL_KEY) is None
        redis.set(ROLL_KEY, '{"serving": 5}')
    with pytest.raises(InvalidInput, match="no state that this version reads"):
        client.models.status()


def test_status_tells_how_far_each_worker_is(redis_server: RedisProcess) -> None:
    assert _run(redis_server, "status").exit_code == 3
    _report(redis_server, "one", RollReport(names=("b",)))
    assert _run(redis_server, "status").exit_code == 0
    assert _run(redis_server, "roll", "b", "--canary", "12.5%").exit_code == 0
    shown = _run(redis_server, "status")
    assert shown.exit_code == 4  # It has not read the state yet.
    assert "main serves, b for 12.5% of jobs" in shown.stdout

    state_id = json.loads(_run(redis_server, "status", "--json").stdout)["state"]["id"]
    texts = tuple(ReportedModel(name=n, model=n, texts_finished=1_000) for n in ("main", "b"))
    ready = RollReport(names=("b",), id=state_id, candidate="b")
    _report(redis_server, "one", ready, model="owner/name", revision="abc", models=texts)
    shown = _run(redis_server, "status")
    assert shown.exit_code == 0
    row = shown.stdout.splitlines()[-1].split()
    assert row == [
        *("one", "ready", "main:", "owner/name@abc", "b"),
        *["main", "1,000,", "b", "1,000"],
    ]

    _report(redis_server, "two", None)
    shown = _run(redis_server, "status")
    assert shown.exit_code == 1
    assert "cannot be rolled" in shown.stdout
    assert "these workers do not have it: two" in _run(redis_server, "roll", "b").stderr
    error = "its weights have 90 MB, and 5 MB are free"
    failed = RollReport(names=("b",), id=state_id, stage=RollStage.FAILED, error=error)
    _report(redis_server, "two", failed)
    assert f"two: {error}" in _run(redis_server, "status").stderr
