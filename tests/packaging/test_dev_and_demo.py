"""`sentq dev` and `sentq demo` start all services and stop them again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx2 as httpx
import pytest

from sentq import Client, JobStatus
from tests.support.models.tiny import long_texts
from tests.support.processes import eventually, worker_environment

pytestmark = pytest.mark.slow


class DevProcess:
    """Runs `sentq dev` as a process."""

    def __init__(self, data: Path, model: Path, *options: str) -> None:
        self._output = data.parent / "dev.log"
        environment = worker_environment("", model) | {"COLUMNS": "200"}
        del environment["SENTQ_BROKER_URL"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sentq.cli", "dev", "--data", data.name, *options],
                cwd=data.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def broker_url(self) -> str:
        match = eventually(
            lambda: re.search(r"export SENTQ_BROKER_URL='(.+)'", self.printed),
            within_s=90,
            what="sentq dev ready",
        )
        assert match is not None
        return match[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def _processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            seen = entry.read_bytes() + entry.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in seen:
            found.append(entry.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_sentq_dev_serves_keeps_queued_jobs_and_leaves_no_process_running(
    tmp_path: Path, tiny_model: Path
) -> None:
    data = tmp_path / "data"
    with DevProcess(data, tiny_model) as dev:
        with Client(broker_url=dev.broker_url()) as client:
            assert client.submit("a good day").result(timeout=30).backend == "local:cpu"
            waiting = client.submit(long_texts())
            behind = client.submit("behind")
            eventually(lambda: waiting.status() is JobStatus.RUNNING)
        assert dev.stop(signal.SIGINT) == 0
        assert "stopping" in dev.printed
        assert "Traceback" not in dev.printed
    assert _processes_of(data) == []

    with DevProcess(data, tiny_model) as dev:
        with Client(broker_url=dev.broker_url()) as client:
            assert len(client.job(behind.id).result(timeout=120).outcomes) == 1
            assert len(client.job(waiting.id).result(timeout=120).outcomes) == 10
        assert dev.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert _processes_of(data) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_sentq_dev_serves_over_http_and_prints_a_command_that_works(
    tmp_path: Path, tiny_model: Path
) -> None:
    data = tmp_path / "data"
    with DevProcess(data, tiny_model, "--gateway", "--gateway-port", "0") as dev:
        dev.broker_url()
        found = eventually(lambda: re.search(r"^curl .+$", dev.printed, re.M), within_s=30)
        assert found is not None
        url = found[0].split()[2]
        with httpx.Client() as http:
            response = http.post(url, json={"texts": "a good day"}, timeout=30)
        assert response.json()["backend"] == "local:cpu"
        assert dev.stop(signal.SIGINT) == 0
        assert "Traceback" not in dev.printed
    assert _processes_of(data) == []


def test_the_demo_scores_200_reviews_and_leaves_no_process_running(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "COLUMNS": "100", "SENTQ_WORKER_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sentq.cli", "demo"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if re.match(r"(positive|negative|neutral) ", line)]) == 199
    assert len([line for line in lines if line.startswith("empty_text")]) == 1
    assert "200 outcomes" in done.stdout
    # The closing example shows a clear positive and a clear negative.
    assert "from sentq import Client" in done.stdout
    closing = [line.split() for line in lines[-2:]]
    assert [label for label, _ in closing] == ["positive", "negative"]
    assert all(float(score) > 0.9 for _, score in closing)
    assert list(tmp_path.iterdir()) == []
    if Path("/proc").is_dir():
        assert _processes_of(tmp_path) == []
