"""What the probes of a worker say in each situation: `pytest -s` prints the table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sentq import Client
from sentq_worker.exit_codes import EX_SOFTWARE
from tests.support.celery.site import stock_app
from tests.support.monitoring.scrape import Answer, get
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.workers.gated import release
from tests.support.workers.stuck_loop import STUCK

pytestmark = pytest.mark.slow

_STANDIN = ("tests.support.workers.standin",)
_STUCK_LOOP = ("tests.support.workers.stuck_loop",)
_GATED = ("celery", "-A", "tests.support.workers.gated", "worker", "-l", "INFO")


@dataclass
class Probed:
    """A worker and its probes."""

    worker: WorkerProcess
    port: int
    table: list[str] = field(default_factory=list)

    def ask(self, path: str) -> Answer:
        """Return the answer of a probe."""
        return get(f"http://127.0.0.1:{self.port}{path}")

    def health(self, *options: str) -> int:
        """Return the exit code of `sentq-worker health`."""
        return _health("--port", str(self.port), *options).returncode

    def note(self, situation: str) -> None:
        """Add a line to the table: what both probes and the command say now."""
        live, ready = self.ask("/livez"), self.ask("/readyz")
        says = f"{live.status} {live.body.strip()!r}", f"{ready.status} {ready.body.strip()!r}"
        codes = f"{self.health()}, {self.health('--ready')}"
        self.table.append(f"| {situation} | {says[0]} | {says[1]} | {codes} |")


def _health(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sentq_worker", "health", *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """The lines of all tests, printed at the end."""
    lines: list[str] = []
    yield lines
    head = "| Situation | /livez | /readyz | health, health --ready |\n|---|---|---|---|\n"
    print("\n" + head + "\n".join(lines))  # noqa: T201


@pytest.fixture
def start(
    own_redis: RedisProcess, start_worker: StartWorker, table: list[str]
) -> Callable[..., Probed]:
    def start(command: tuple[str, ...], *, wait: bool = True, **environment: str) -> Probed:
        port = free_port()
        environment["SENTQ_WORKER_METRICS_PORT"] = str(port)
        worker = start_worker(own_redis.url, command=command, wait=wait, **environment)
        return Probed(worker, port, table)

    return start


@pytest.fixture
def sender(own_redis: RedisProcess) -> Iterator[Client]:
    with Client(broker_url=own_redis.url) as client:
        yield client


@pytest.fixture
def operator(own_redis: RedisProcess) -> Iterator[Client]:
    with Client(broker_url=own_redis.url_of("operator")) as client:
        yield client


def test_while_a_model_loads(start: Callable[..., Probed]) -> None:
    probed = start(_GATED, wait=False, GATED_LOAD_S="8")
    assert probed.health() == 1, "nothing listens yet"
    eventually(lambda: probed.ask("/livez").status == 200, within_s=60)
    assert probed.ask("/livez").body == "live: loading\n"
    assert probed.ask("/readyz") == Answer(503, "the model is being loaded\n")
    probed.note("loading a model")
    probed.worker.wait_until_ready()
    eventually(lambda: probed.ask("/readyz").status == 200)
    probed.note("idle")


def test_under_load(start: Callable[..., Probed], sender: Client) -> None:
    probed = start(_STANDIN, STANDIN_DELAY_S="0.3")
    eventually(lambda: probed.ask("/readyz").status == 200)
    sender.submit_many([["text"] * 50] * 2000)
    for _ in range(20):
        assert probed.ask("/livez") == Answer(200, "live\n")
        assert probed.ask("/readyz") == Answer(200, "ready\n")
        time.sleep(0.05)
    probed.note("under load")


def test_while_it_ends(
    start: Callable[..., Probed], sender: Client, operator: Client, own_redis: RedisProcess
) -> None:
    probed = start(_GATED, SENTQ_WORKER_SHUTDOWN_GRACE_S="15")
    sender.submit("hold:end")
    eventually(lambda: operator.service_status().in_flight_jobs == 1)
    probed.worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: probed.ask("/readyz").status == 503)
    assert "the worker ends" in probed.ask("/readyz").body
    assert probed.ask("/livez").status == 200
    probed.note("after SIGTERM, with a batch in the engine")
    with own_redis.client() as redis:
        release(redis, "end")
    assert eventually(lambda: probed.worker.process.poll() is not None, within_s=30)
    assert probed.ask("/livez").status == 0


def test_with_redis_away(start: Callable[..., Probed], own_redis: RedisProcess) -> None:
    probed = start(_STANDIN)
    eventually(lambda: probed.ask("/readyz").status == 200)
    own_redis.kill()
    eventually(lambda: probed.ask("/readyz").status == 503, within_s=30)
    probed.note("Redis away")
    for _ in range(30):
        assert probed.ask("/livez") == Answer(200, "live\n")
        time.sleep(0.1)
    assert probed.ask("/readyz").status == 503
    own_redis.start()
    eventually(lambda: probed.ask("/readyz").status == 200, within_s=60)
    probed.note("Redis back")


def test_with_a_redis_that_stands_still(
    start: Callable[..., Probed], own_redis: RedisProcess
) -> None:
    probed = start(_STANDIN)
    eventually(lambda: probed.ask("/readyz").status == 200)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)  # Connections stay open.
    try:
        eventually(lambda: probed.ask("/readyz").status == 503, within_s=60)
        assert probed.ask("/livez").status == 200
        probed.note("Redis accepts connections and answers nothing")
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    eventually(lambda: probed.ask("/readyz").status == 200, within_s=60)


def test_with_a_hung_engine(start: Callable[..., Probed], sender: Client, operator: Client) -> None:
    probed = start(_GATED, SENTQ_WORKER_BATCH_LIMIT_S="8")
    sender.submit("hold:never")
    eventually(lambda: operator.service_status().in_flight_jobs == 1)
    probed.note("engine hangs, within batch_limit_s")
    assert probed.ask("/livez").status == 200
    last = _until_it_ends(probed)
    assert last.status in (503, 0)
    probed.note("engine hangs, after batch_limit_s (exit 70)")


def test_with_a_stalled_loop(
    start: Callable[..., Probed], sender: Client, own_redis: RedisProcess
) -> None:
    probed = start(_STUCK_LOOP, SENTQ_WORKER_LOOP_LIMIT_S="10")
    eventually(lambda: probed.ask("/readyz").status == 200)
    with stock_app(own_redis.url) as stock:
        stock.send_task("sentq.score", args=[["text"]], queue="sentq", shadow=STUCK, retries=1)
    eventually(lambda: probed.ask("/readyz").status == 503, within_s=20)
    assert "the event loop has stood still for" in probed.ask("/readyz").body
    assert probed.ask("/livez").status == 200
    probed.note("loop stalled, within loop_limit_s")
    last = _until_it_ends(probed)
    assert last.status in (503, 0)
    probed.note("loop stalled, after loop_limit_s (exit 70)")


def _until_it_ends(probed: Probed) -> Answer:
    """Ask until the process has ended by itself; return the last answer of /livez."""
    deadline, answers = time.monotonic() + 60, [probed.ask("/livez")]
    while probed.worker.process.poll() is None:
        assert time.monotonic() < deadline
        answers.append(probed.ask("/livez"))
        time.sleep(0.02)
    answers.append(probed.ask("/livez"))
    assert probed.worker.process.poll() == EX_SOFTWARE
    first_bad = next(n for n, answer in enumerate(answers) if answer.status != 200)
    assert all(answer.status != 200 for answer in answers[first_bad:]), "it fails for good"
    return answers[-1]


# --- The command -----------------------------------------------------------------------------


@pytest.mark.unit
def test_health_imports_nothing_of_the_worker() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['sentq-worker', 'health', '--port', '1']\n"
        "from sentq_worker.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    code, modules = done.stdout.splitlines()
    assert code == "1"
    heavy = {"celery", "kombu", "numpy", "pydantic", "redis", "sentq", "torch", "typer"}
    assert heavy.isdisjoint(modules.split())
    assert "no answer from port 1 of 127.0.0.1" in done.stderr


@pytest.mark.unit
def test_health_reads_its_port_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text('[worker]\nmetrics_port = 2\nmetrics_host = "::"\n')
    assert "no answer from port 2 of ::1" in _health("--config", str(file)).stderr
    assert "no answer from port 2 of ::1" in _health(SENTQ_CONFIG=str(file)).stderr
    given = _health("--config", str(file), SENTQ_WORKER_METRICS_PORT="3")
    assert "no answer from port 3" in given.stderr
    opened = _health("--port=4", SENTQ_WORKER_METRICS_HOST="0.0.0.0")  # noqa: S104
    assert "no answer from port 4 of 127.0.0.1" in opened.stderr


@pytest.mark.unit
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "the worker has no port: set SENTQ_WORKER_METRICS_PORT"),
        (("--port", "many"), "not a port: many"),
        (("--port", "70000"), "not a port: 70000"),
        (("--port",), "--port needs a value"),
        (("--alive",), "no such option: --alive"),
        (("--config", "/no/such/file.toml"), "/no/such/file.toml"),
    ],
)
def test_health_refuses_wrong_options_in_one_line(options: tuple[str, ...], says: str) -> None:
    refused = _health(*options)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.unit
def test_health_explains_itself() -> None:
    shown = _health("--help")
    assert shown.returncode == 0
    assert "Exit codes:" in shown.stdout
