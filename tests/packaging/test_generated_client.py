"""A client that is generated from the committed OpenAPI document, against a running gateway."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sentq import Settings
from tests.support.gateway.document import FILE
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.process import GatewayProcess
from tests.support.processes import RedisProcess

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: It needs other versions of what sentq's commands need, so it has an environment of its own.
_GENERATOR: Final = "openapi-python-client==0.29.1"

_PROGRAM: Final = """
import sys
from generated.api.jobs import cancel_job, read_job, score, send_job
from generated.api.service import read_status
from generated.client import AuthenticatedClient
from generated.models import JobBody, ScoreBody

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
outcome = score.sync(client=client, body=ScoreBody(texts=["a", "b"]))
job = send_job.sync(client=client, body=JobBody(texts="x"))
done = read_job.sync(job.id, client=client, prefer="wait=10")
refused = cancel_job.sync(job.id, client=client)
status = read_status.sync(client=client)
print(len(outcome.outcomes), done.status, len(done.outcome.outcomes), refused.type_)
print(status.live_workers)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate a client; return the Python of an environment in which it can be imported."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=True)
    bin_ = folder / "bin"
    _run(bin_ / "python", "-m", "pip", "install", "-q", _GENERATOR, folder=folder)
    command = ("generate", "--path", FILE, "--output-path", "generated", "--meta", "none")
    _run(bin_ / "openapi-python-client", *command, folder=folder)
    return bin_ / "python"


@pytest.fixture
def gateway(scored_redis: RedisProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway whose jobs are scored."""
    gateway = GatewayProcess(tmp_path, scored_redis.url_of("gateway")).wait_until_ready()
    yield gateway
    gateway.stop()


def _run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_sends_reads_and_cancels_jobs(
    python: Path, gateway: GatewayProcess, scored_redis: RedisProcess
) -> None:
    settings = Settings.load(broker_url=scored_redis.url_of("operator"))
    key = with_new_key(settings).key
    printed = _run(python, "-c", _PROGRAM, gateway.url, key, folder=python.parents[1])
    assert printed.split() == ["2", "done", "1", "urn:sentq:problem:job-not-cancelled", "1"]
