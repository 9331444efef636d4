"""Real workers and a local Hub: without torch, and as the fallback of a local provider."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentq import Client, Job, JobOutcome, Prediction, Settings
from sentq.wire.reports import read_reports
from sentq_worker.testing import LocalHub
from sentq_worker.testing.replies import hash_scores
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.workers.standin import hash_score

TOKEN = "hf_CANARYtoken"
CANARY = "CANARY text of no output"

#: The packages that a worker for the Hub alone does not need.
HEAVY = ("torch", "transformers", "safetensors", "numpy")


@pytest.fixture
def server() -> Iterator[LocalHub]:
    with LocalHub(token=TOKEN) as server:
        yield server


def hub_environment(server: LocalHub, folder: Path, **more: str) -> dict[str, str]:
    """Return the variables with which a worker uses this Hub."""
    return {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(folder / "hub-cache"),
        "SENTQ_WORKER_HUB_MODEL": "owner/model",
        "SENTQ_WORKER_HUB_ROUTER": f"{server.url}/hf-inference",
        "SENTQ_WORKER_HUB_PROBE_INTERVAL_S": "0.3",
        **more,
    }


def without_torch(folder: Path) -> dict[str, str]:
    """Return variables with which the heavy packages cannot be imported."""
    for name in HEAVY:
        package = folder / "light" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"raise ModuleNotFoundError('no {name} here')\n")
    return {"PYTHONPATH": str(folder / "light")}


@pytest.mark.slow
def test_a_worker_without_torch_scores_through_the_hub(
    server: LocalHub,
    client: Client,
    redis_server: RedisProcess,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    environment = hub_environment(server, tmp_path, SENTQ_WORKER_PROVIDER="hub", HF_DEBUG="1")
    environment |= {"SENTQ_WORKER_HUB_CALLS_PER_DAY": "5000"}
    worker = start_worker(
        redis_server.url, "--loglevel", "debug", **environment | _path(without_torch(tmp_path))
    )
    texts = [f"text {number}" for number in range(1000)]
    outcomes = list(client.map(texts))
    assert len(outcomes) == 1000
    for text, outcome in zip(texts, outcomes, strict=True):
        assert isinstance(outcome, Prediction)
        assert outcome.scores == pytest.approx(
            hash_scores(text, ("negative", "neutral", "positive"))
        )
    assert server.lookups == 1
    assert sorted(server.texts) == sorted(["good", *texts])
    # A local-only job is not sent to the Hub, and fails with an error code.
    local_only = client.submit(CANARY, local_only=True).result(timeout=30)
    assert [o.code for o in local_only.outcomes if not isinstance(o, Prediction)] == [
        "engine_unavailable"
    ]
    # Faults of all kinds, and a Hub whose error replies repeat the request.
    server.script("500 503:0.1 garbage reset truncated gzip-bomb nan redirect")
    job_outcome = client.submit(CANARY).result(timeout=60)
    assert (job_outcome.model, job_outcome.revision, job_outcome.backend) == (
        "owner/model",
        None,
        "hub",
    )
    assert server.most_at_once <= 16

    def reported() -> list[tuple[str, int, int]]:
        return [(each.unit, each.used, each.limit) for each in client.service_status().hub_budget]

    eventually(lambda: reported() == [("calls", server.calls, 5000)], what="the budget in a report")
    assert worker.stop() == 0
    assert "CANARY" not in worker.log
    assert "text 7" not in worker.log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HF_TOKEN": "hf_wrong"}, "rejects the token (401)"),
        ({"HF_TOKEN": ""}, "the Hub needs a token"),
        ({"SENTQ_WORKER_HUB_TOKEN_FILE": "/nowhere/token"}, "token file /nowhere/token"),
        ({"SENTQ_WORKER_HUB_MODEL": ""}, "SENTQ_WORKER_HUB_MODEL"),
    ],
    ids=["wrong token", "no token", "no token file", "no model"],
)
def test_a_worker_that_cannot_use_the_hub_exits_with_the_reason(
    server: LocalHub,
    redis_server: RedisProcess,
    start_worker: StartWorker,
    tmp_path: Path,
    change: dict[str, str],
    message: str,
) -> None:
    environment = hub_environment(server, tmp_path, SENTQ_WORKER_PROVIDER="hub") | change
    worker = start_worker(redis_server.url, wait=False, **environment)
    assert worker.process.wait(90) in (2, 78)
    assert message in " ".join(worker.log.split())
    assert "Traceback" not in worker.log
    assert "hf_wrong" not in worker.log


@pytest.mark.slow
def test_every_job_gets_an_outcome_while_the_local_engine_fails_and_recovers(
    client: Client, redis_server: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    unavailable = tmp_path / "unavailable"

    def score(text: str) -> dict[str, float]:
        return {"negative": 1 - hash_score(text), "positive": hash_score(text)}

    with LocalHub(token=TOKEN, score=score) as server:
        worker = start_worker(
            redis_server.url,
            command=("tests.support.workers.local_unavailable",),
            **hub_environment(
                server,
                tmp_path,
                SENTQ_WORKER_PROVIDER="prefer-local",
                UNAVAILABLE_FILE=str(unavailable),
            ),
        )
        load = Load(client)
        load.run_until(lambda: load.last_backend == "test")
        unavailable.touch()
        began = time.monotonic()
        private = load.run_until(lambda: load.last_backend == "hub", local_only=CANARY)
        assert time.monotonic() - began < 5
        load.run_for(0.5)
        with redis_server.client() as redis:
            (report,) = eventually(
                lambda: [r for r in read_reports(redis) if r.local_breaker == "open"]
            )
            assert (report.backend, report.breaker) == ("hub", "closed")
        unavailable.unlink()
        load.run_until(lambda: load.last_backend == "test")
        outcomes = load.outcomes()
        backends = Counter(outcome.backend for outcome in outcomes)
        assert set(backends) == {"test", "hub"}
        assert sum(backends.values()) == load.sent
        assert backends["hub"] == len([text for text in server.texts if text != "good"])
        assert private is not None
        assert private.result(timeout=30).backend == "test"
        assert CANARY not in server.texts
        _assert_logged_once(worker)


class Load:
    """Sends single texts and reads their outcomes, one after another."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jobs: list[tuple[str, Job]] = []
        self.last_backend = ""

    @property
    def sent(self) -> int:
        return len(self._jobs)

    def run_until(self, done: object, *, local_only: str | None = None) -> Job | None:
        private = self._client.submit(local_only, local_only=True) if local_only else None
        assert callable(done)
        eventually(lambda: self._send() and done(), within_s=30)
        return private

    def run_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._send()

    def outcomes(self) -> list[JobOutcome]:
        found = []
        for text, job in self._jobs:
            outcome = job.result(timeout=30)
            (prediction,) = outcome.outcomes
            assert isinstance(prediction, Prediction)
            assert prediction.scores["positive"] == pytest.approx(hash_score(text))
            found.append(outcome)
        return found

    def _send(self) -> bool:
        few = [f"load {self.sent + number}" for number in range(5)]
        jobs = [(text, self._client.submit(text)) for text in few]
        self._jobs += jobs
        self.last_backend = jobs[-1][1].result(timeout=30).backend
        return True


def _assert_logged_once(worker: WorkerProcess) -> None:
    assert worker.log.count("is not used for now: the local engine lost its device") == 1
    assert worker.log.count("is available again") == 1
    assert "CANARY" not in worker.log


def _path(environment: dict[str, str]) -> dict[str, str]:
    """With what this process found its own modules by behind it."""
    found = os.environ.get("PYTHONPATH")
    return (
        environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{found}"}
        if found
        else environment
    )


@pytest.mark.slow
def test_sentq_dev_starts_a_fake_hub(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sentq.cli", "dev", "--hub", "fake", "--data", tmp_path / "data"],
        env=os.environ | {"SENTQ_WORKER_PROVIDER": "hub"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as dev:
        try:
            assert dev.stdout is not None
            message = ""
            for line in dev.stdout:
                message += line
                if "Ctrl-C" in line:
                    break
            (broker,) = re.findall(r"SENTQ_BROKER_URL='(.*)'", message)
            with Client(Settings.load(broker_url=broker)) as client:
                assert client.submit("a good day").result(timeout=30).backend == "hub"
        finally:
            dev.send_signal(signal.SIGINT)
            assert dev.wait(60) == 0
