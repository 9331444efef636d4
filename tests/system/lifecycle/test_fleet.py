"""Workers of the same queues: their names, and what happens if they differ."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sentq import Client, __version__
from sentq.cli import app
from sentq.wire.reports import WorkerReport, write_report
from sentq_worker.exit_codes import EX_CONFIG, EX_USAGE
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.roles.users import unless_roles_are_tested

pytestmark = [pytest.mark.slow, pytest.mark.long]

_HOST = socket.gethostname()
_STANDIN = ("tests.support.workers.standin",)
_CELERY = ("celery", "-A", "tests.support.workers.gated", "worker", "-l", "INFO")


class Fleet:
    """Workers of one Redis."""

    def __init__(self, folder: Path, server: RedisProcess) -> None:
        self._folder = folder
        self._server = server
        self.workers: list[WorkerProcess] = []

    def start(
        self, *options: str, command: tuple[str, ...] = _STANDIN, wait: bool = True, **env: str
    ) -> WorkerProcess:
        """Start a worker."""
        environment = {"SENTQ_BROKER_URL": self._server.url} | env
        worker = WorkerProcess(self._folder, environment, (*command, *options))
        self.workers.append(worker)
        return worker.wait_until_ready() if wait else worker

    def reports(self, count: int) -> list[WorkerReport]:
        """Wait until so many workers report their models and queues, and return the reports."""
        with Client(broker_url=self._server.url_of("operator")) as client:

            def seen() -> tuple[WorkerReport, ...]:
                found = client.service_status().workers
                is_complete = all(report.model and report.queues for report in found)
                return found if len(found) == count and is_complete else ()

            return list(eventually(seen, within_s=60, what=f"{count} reports"))


@pytest.fixture
def fleet(redis_server: RedisProcess, tmp_path: Path) -> Iterator[Fleet]:
    """Start workers of the test's Redis."""
    fleet = Fleet(tmp_path, redis_server)
    yield fleet
    for worker in fleet.workers:
        worker.stop()


def _ping(redis_server: RedisProcess, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "sentq_worker", "inspect", "ping", "-d", name],
        env=os.environ | {"SENTQ_BROKER_URL": redis_server.url_of("flower")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _status(url: str, *options: str) -> Any:
    return CliRunner().invoke(
        app, ["status", "--broker-url", url, *options], catch_exceptions=False
    )


@pytest.mark.parametrize("command", [_STANDIN, _CELERY], ids=["sentq-worker", "celery worker"])
def test_two_workers_of_a_host_have_names_of_their_own(
    fleet: Fleet, redis_server: RedisProcess, command: tuple[str, ...]
) -> None:
    first, second = fleet.start(command=command), fleet.start(command=command)
    names = {report.worker for report in fleet.reports(2)}
    assert names == {f"celery-{worker.process.pid}@{_HOST}" for worker in (first, second)}
    for name in names:
        assert f"->  {name}: OK" in _ping(redis_server, name).stdout
    shown = _status(redis_server.url_of("operator"))
    assert all(name.split("@")[0] in shown.stdout for name in names)


def test_the_names_of_settings_and_options_are_expanded(
    fleet: Fleet, redis_server: RedisProcess, tiny_model: Path
) -> None:
    fleet.start(SENTQ_WORKER_NAME="v%i-%n@%h")
    fleet.start("-n", "v3@%h", command=_CELERY)
    fleet.start("-n", "celery@%h", command=_CELERY)  # Named, as Celery would by default.
    fleet.start(
        *("--name", "v2@%h", "--model", str(tiny_model), "--threads", "1"),
        command=("sentq_worker",),
    )
    short = _HOST.partition(".")[0]
    names = [f"celery@{_HOST}", f"v0-{short}@{_HOST}", f"v2@{_HOST}", f"v3@{_HOST}"]
    assert sorted(report.worker for report in fleet.reports(4)) == sorted(names)
    for name in names:
        pinged = _ping(redis_server, name)
        assert f"->  {name}: OK" in pinged.stdout, pinged.stderr


@pytest.mark.parametrize("name", ["gpu%x@%h", "100%", "a b", "a\nb"])
def test_a_name_that_cannot_be_expanded_is_a_wrong_setting(fleet: Fleet, name: str) -> None:
    worker = fleet.start(f"--name={name}", command=("sentq_worker",), wait=False)
    assert worker.process.wait(60) == EX_USAGE, worker.log
    assert "name: String should match pattern" in worker.log
    assert "Traceback" not in worker.log


def test_the_state_of_a_running_job_names_its_worker(fleet: Fleet, client: Client) -> None:
    fleet.start(STANDIN_DELAY_S="2", SENTQ_WORKER_NAME="slow@%h")
    job = client.submit("a text")
    result = client._app.AsyncResult(job.id)
    eventually(lambda: result.state == "STARTED", what="a running job")
    assert result.info == {"hostname": f"slow@{_HOST}"}


@unless_roles_are_tested("one worker reads a queue that users.acl does not name")
def test_workers_of_two_models_are_noticed_in_logs_and_status(
    fleet: Fleet, redis_server: RedisProcess
) -> None:
    old = fleet.start(STANDIN_MODEL="old", SENTQ_WORKER_NAME="old@%h")
    same = fleet.start(STANDIN_MODEL="old", SENTQ_WORKER_NAME="same@%h")
    other = fleet.start(
        STANDIN_MODEL="new",
        SENTQ_WORKER_NAME="elsewhere@%h",
        SENTQ_QUEUE="other",
        SENTQ_BULK_QUEUE="other.bulk",
    )
    fleet.reports(3)
    assert _status(redis_server.url_of("operator")).exit_code == 0
    assert "warning" not in _status(redis_server.url_of("operator")).stderr

    new = fleet.start(
        STANDIN_MODEL="new",
        SENTQ_WORKER_NAME="new@%h",
        SENTQ_WORKER_LABELS='{"positive": "good"}',
    )
    for worker, peer in ((new, "old"), (new, "same"), (old, "new"), (same, "new")):
        for topic in ("model", "labels"):
            warning = f"the worker {peer}@{_HOST} reads the same queues and differs in its {topic}"
            eventually(lambda: warning in worker.log, within_s=60, what=warning)  # noqa: B023
    assert new.log.count(f"the worker old@{_HOST} reads") == 2  # Once for each topic.
    assert "reads the same queues" not in other.log

    shown = _status(redis_server.url_of("operator"))
    assert shown.exit_code == 0
    warnings = [line for line in shown.stderr.splitlines() if "warning:" in line]
    queues = "warning: workers of sentq, sentq.bulk differ in their"
    assert f"{queues} model: new (new@{_HOST}); old (old@{_HOST}, same@{_HOST})" in warnings[0]
    assert f"{queues} labels: good, negative (new@{_HOST})" in warnings[1]
    read = json.loads(_status(redis_server.url_of("operator"), "--json").stdout)
    assert [found["topic"] for found in read["disagreements"]] == ["model", "labels"]
    assert read["disagreements"][0]["values"]["new"] == [f"new@{_HOST}"]
    assert read["version"] == __version__
    assert {report["version"] for report in read["workers"]} == {__version__}


def test_two_workers_of_one_name_are_noticed(fleet: Fleet) -> None:
    first = fleet.start(SENTQ_WORKER_NAME="one@%h")
    second = fleet.start(SENTQ_WORKER_NAME="one@%h")
    for worker in (first, second):
        eventually(
            lambda: f"another worker is named one@{_HOST} too" in worker.log,  # noqa: B023
            within_s=60,
            what="a warning about the name",
        )


def test_a_worker_that_requires_the_same_model_does_not_start_beside_another(
    fleet: Fleet, redis_server: RedisProcess, client: Client
) -> None:
    old = fleet.start(
        STANDIN_MODEL="a@1", SENTQ_WORKER_NAME="old@%h", SENTQ_WORKER_REQUIRE_SAME_MODEL="true"
    )
    fleet.start(
        STANDIN_MODEL="a@1", SENTQ_WORKER_NAME="same@%h", SENTQ_WORKER_REQUIRE_SAME_MODEL="true"
    )
    fleet.reports(2)
    new = fleet.start(
        STANDIN_MODEL="a@2",
        SENTQ_WORKER_NAME="new@%h",
        wait=False,
        SENTQ_WORKER_REQUIRE_SAME_MODEL="true",
    )
    assert new.process.wait(60) == EX_CONFIG, new.log
    (line,) = (line for line in new.log.splitlines() if "require_same_model" in line)
    assert "differs in its revision: a at 1; here: a at 2" in line
    assert "Traceback" not in new.log
    assert [report.worker for report in fleet.reports(2)] == [f"old@{_HOST}", f"same@{_HOST}"]
    # The others go on, and a rolling upgrade without the setting is not refused.
    assert client.submit("a text").result(timeout=30).outcomes
    fleet.start(STANDIN_MODEL="a@2", SENTQ_WORKER_NAME="rolling@%h")
    assert old.process.poll() is None


def test_the_report_of_a_killed_worker_keeps_no_other_from_starting(
    fleet: Fleet, redis_server: RedisProcess
) -> None:
    now_s = time.time()
    report = WorkerReport(
        worker="killed", at_s=now_s, started_at_s=now_s - 9, queues=("sentq",), model="other"
    )
    with redis_server.client() as redis:
        write_report(redis, report, lifetime_s=3)
    fleet.start(STANDIN_MODEL="a", SENTQ_WORKER_REQUIRE_SAME_MODEL="true")
    assert [report.model for report in fleet.reports(1)] == ["a"]
