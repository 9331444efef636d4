"""`sentq score` without an outcome: it says what it waits for, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentq.cli import score as command
from sentq.cli.waiting import WaitNotices
from sentq.results.backlog import Backlog
from sentq.wire.reports import WorkerReport
from tests.support.processes import RedisProcess, eventually


def _score(server: RedisProcess, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sentq.cli", "score", *arguments],
        env=os.environ | {"SENTQ_BROKER_URL": server.url, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("is_file", [False, True], ids=["text", "file"])
def test_it_says_that_no_worker_reports(
    redis_server: RedisProcess, tmp_path: Path, is_file: bool
) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    scoring = _score(redis_server, str(tmp_path / "in.txt") if is_file else "a text")
    assert scoring.stderr is not None
    try:
        said = scoring.stderr.readline()
    finally:
        scoring.terminate()
        out, _ = scoring.communicate(timeout=30)
    assert said == (
        "sentq: waiting: no worker reports that it reads sentq or sentq.bulk (1 job queued); "
        "sentq-worker starts one\n"
    )
    assert out == ""


def _backlog(*workers: dict[str, Any], waiting: int) -> Backlog:
    reports = tuple(
        WorkerReport(worker=f"w{n}", at_s=0, started_at_s=0, **about)
        for n, about in enumerate(workers)
    )
    return Backlog(waiting_jobs={"sentq": 0, "sentq.bulk": waiting}, workers=reports)


@pytest.mark.parametrize(
    ("backlog", "says"),
    [
        (
            _backlog({"jobs_per_s": 5.0}, {"jobs_per_s": 95.0}, waiting=1234),
            "1,234 jobs queued, about 12 s",
        ),
        (_backlog({"jobs_per_s": 50.0}, waiting=1), "1 job queued, about 1 s"),
        (_backlog({}, waiting=2), "2 jobs queued; no worker has reported yet how fast it is"),
        (_backlog({"jobs_per_s": 50.0}, waiting=0), "0 jobs queued, 1 worker reads the queues"),
        (_backlog({}, {}, waiting=0), "0 jobs queued, 2 workers read the queues"),
        (
            _backlog({"waiting_for": "the Hub\x1b"}, waiting=3),
            "no worker can score at the moment (3 jobs queued): the Hub\N{REPLACEMENT CHARACTER}",
        ),
        (
            _backlog({"waiting_for": "the Hub"}, {"jobs_per_s": 3.0}, waiting=3),
            "3 jobs queued, about 1 s",
        ),
    ],
)
def test_a_notice_says_what_is_waited_for(backlog: Backlog, says: str) -> None:
    said: list[str] = []
    notices = WaitNotices(lambda: backlog, said.append)
    notices._tell()
    assert said == [f"waiting: {says}"]


def test_notices_end_with_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_AFTER_S", "_NEXT_AFTER_S"):
        monkeypatch.setattr(f"sentq.cli.waiting.{name}", 0.01)
    said: list[str] = []
    with WaitNotices(lambda: _backlog(waiting=1), said.append) as notices:
        notices.add_text()
        eventually(lambda: len(said) >= 3, what="three notices")
    notices._thread.join(10)
    assert not notices._thread.is_alive()


@pytest.mark.parametrize("texts", [0, 1], ids=["no input yet", "all outcomes arrived"])
def test_nothing_is_said_if_no_text_waits(monkeypatch: pytest.MonkeyPatch, texts: int) -> None:
    monkeypatch.setattr("sentq.cli.waiting._FIRST_AFTER_S", 0.01)
    monkeypatch.setattr("sentq.cli.waiting._NEXT_AFTER_S", 0.01)
    said: list[str] = []
    notices = WaitNotices(lambda: _backlog(waiting=1), said.append)
    for _ in range(texts):
        notices.add_text()
        notices.add_outcome()
    with notices:
        notices._thread.join(0.5)
    assert said == []


def test_texts_have_a_time_limit_by_default_and_files_have_none() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "sentq.cli", "score", "--help"],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "default: 60 for texts, no limit for a file" in " ".join(help_text.split())
    assert command._TIMEOUT_OF_TEXTS_S == 60
