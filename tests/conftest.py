"""What most tests need: a real Redis, a tiny model, a worker, and nobody else's settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentq import Client, Settings
from sentq.dev.embedded import find_redis_server
from tests.support.models.tiny import make_tiny_model
from tests.support.processes import RedisProcess, WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SENTQ_", "CELERY_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(find_redis_server(), tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_process: RedisProcess) -> RedisProcess:
    """An empty Redis. Shared: a test that stops one makes its own."""
    with _redis_process.client() as client:
        client.flushall()
    return _redis_process


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may stop and start as it likes."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(find_redis_server(), folder).start()
    yield server
    server.stop()


@pytest.fixture
def settings(redis_server: RedisProcess) -> Settings:
    """Settings that lead to the test's Redis."""
    return Settings.load(broker_url=redis_server.url)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client of the test's Redis."""
    with Client(settings) as client:
        yield client


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random three-class BERT with windows of 64 tokens."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def worker_environment(broker_url: str, model: Path) -> dict[str, str]:
    """What a worker of the tests is told. One thread: more of them only wait for each other
    while other tests' processes use the cores."""
    return {
        "SENTQ_BROKER_URL": broker_url,
        "SENTQ_WORKER_MODEL": str(model),
        "SENTQ_WORKER_THREADS": "1",
    }


@pytest.fixture
def start_worker(tmp_path: Path, tiny_model: Path) -> Iterator[StartWorker]:
    """Start workers of the given Redis; each is stopped at the end, if it still runs."""
    started: list[WorkerProcess] = []

    def start(
        broker_url: str,
        *options: str,
        command: tuple[str, ...] = ("sentq_worker",),
        wait: bool = True,
        **env: str,
    ) -> WorkerProcess:
        environment = worker_environment(broker_url, tiny_model) | env
        worker = WorkerProcess(tmp_path, environment, (*command, *options))
        started.append(worker)
        return worker.wait_until_ready() if wait else worker

    yield start
    for worker in started:
        worker.stop()
