"""Fixtures of most tests (a Redis, a tiny model, a worker), and what pytest does in this project:
kinds and groups of tests, logs of failed tests, a list of what was not tested."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis

from sentq import Client, Settings
from tests.support.kinds import KINDS, NoKind, kind_of
from tests.support.logs import choose_folder, keep_logs
from tests.support.missing import not_tested_here, redis_program
from tests.support.models.tiny import make_tiny_model
from tests.support.processes import (
    RedisProcess,
    StartWorker,
    WorkerProcess,
    worker_environment,
)
from tests.support.scheduling import FixtureScheduling

#: When the test that runs now has started.
_STARTED_S = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the kinds, and choose the folder for logs of failed tests."""
    # Some tests run pytest themselves; the options of this run, such as --basetemp, are not theirs.
    os.environ.pop("PYTEST_ADDOPTS", None)
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")
    choose_folder(config.rootpath)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its kind, before markers are selected."""
    for item in items:
        try:
            kind = kind_of(item)
        except NoKind as error:
            raise pytest.UsageError(str(error)) from error
        item.add_marker(kind)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FixtureScheduling | None:
    """Let `pytest -n 2` keep tests that share fixtures in one process."""
    return FixtureScheduling(config, log) if config.getvalue("dist") == "load" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Record when a test starts."""
    item.stash[_STARTED_S] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of processes to the report of a failed test."""
    report = yield
    if report.failed:
        keep_logs(report, started_s=item.stash.get(_STARTED_S, 0.0))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not tested, and why."""
    if missing := not_tested_here(terminalreporter.getreports("skipped")):
        terminalreporter.section("not tested here")
        for line in missing:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, _cache_folder: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SENTQ_", "CELERY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(_cache_folder))


@pytest.fixture(scope="session")
def _redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(redis_program(), tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_process: RedisProcess) -> RedisProcess:
    """An empty Redis. Shared: a test that stops one makes its own."""
    with _redis_process.client() as client:
        client.flushall()
    return _redis_process


@pytest.fixture
def server(redis_server: RedisProcess) -> Iterator[redis.Redis]:
    """A connection to the empty Redis, with all rights."""
    with redis_server.client() as server:
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may stop and start as it likes."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(redis_program(), folder).start()
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


@pytest.fixture(scope="module")
def scored_redis(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[RedisProcess]:
    """A Redis whose jobs a worker scores, each text by its hash."""
    folder = tmp_path_factory.mktemp("scored")
    server = RedisProcess(redis_program(), folder).start()
    worker = WorkerProcess(
        folder, worker_environment(server.url, tiny_model), ("tests.support.workers.standin",)
    )
    worker.wait_until_ready()
    yield server
    worker.stop()
    server.stop()
