"""A worker that lacks something at its start: it waits for a bounded time, logs what it waits for,
and exits with an exit code."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from sentq import Client
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually, free_port

_COMMANDS = pytest.mark.parametrize(
    "command",
    [("tests.support.workers.standin",), ("celery", "-A", "tests.support.workers.gated", "worker")],
    ids=["sentq-worker", "celery worker"],
)


def _start(folder: Path, url: str, *command: str, **environment: str) -> WorkerProcess:
    environment = {"SENTQ_BROKER_URL": url, "SENTQ_WORKER_START_WAIT_S": "2"} | environment
    return WorkerProcess(folder, environment, command or ("tests.support.workers.standin",))


def _closed_port_url() -> str:
    return f"redis://:secret@127.0.0.1:{free_port()}/0"


@pytest.mark.slow
@_COMMANDS
def test_without_a_broker_the_worker_says_what_it_waits_for_and_exits(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    worker = _start(tmp_path, _closed_port_url(), *command)
    assert worker.process.wait(60) == EX_UNAVAILABLE, worker.log
    assert worker.log.count("waiting for the broker redis://:**@127.0.0.1") == 1
    assert "does not answer" in worker.log
    assert "SENTQ_BROKER_URL" in worker.log
    assert "`sentq dev` starts one" in worker.log
    assert "secret" not in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.slow
def test_without_a_result_backend_the_worker_exits(
    redis_server: RedisProcess, tmp_path: Path
) -> None:
    worker = _start(tmp_path, redis_server.url, SENTQ_RESULT_URL=_closed_port_url())
    assert worker.process.wait(60) == EX_UNAVAILABLE, worker.log
    assert "waiting for the Redis of results redis://:**@127.0.0.1" in worker.log
    assert "SENTQ_RESULT_URL" in worker.log
    assert "secret" not in worker.log


@pytest.mark.slow
def test_with_a_wrong_password_the_worker_exits(own_redis: RedisProcess, tmp_path: Path) -> None:
    with own_redis.client() as redis:
        redis.config_set("requirepass", "right")
    worker = _start(tmp_path, f"redis://:wrong@127.0.0.1:{own_redis.port}/0")
    assert worker.process.wait(60) == EX_UNAVAILABLE, worker.log
    assert "user and password" in worker.log
    assert ":wrong@" not in worker.log


@pytest.mark.slow
def test_a_worker_starts_when_redis_comes_up_later(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(redis_program(), folder)
    worker = _start(tmp_path, server.url, SENTQ_WORKER_START_WAIT_S="60")
    try:
        eventually(lambda: "waiting for the broker" in worker.log, within_s=60)
        server.start()
        with Client(broker_url=server.url) as client:
            assert client.submit("a text").result(timeout=30).outcomes
        assert worker.stop() == 0
    finally:
        worker.process.kill()
        worker.process.wait()
        server.stop()


def test_sigterm_ends_the_wait_for_redis(tmp_path: Path) -> None:
    worker = _start(tmp_path, _closed_port_url(), SENTQ_WORKER_START_WAIT_S="600")
    eventually(lambda: "waiting for the broker" in worker.log, within_s=60)
    started = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 0
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_worker_that_was_connected_waits_longer_for_redis(
    own_redis: RedisProcess, tmp_path: Path
) -> None:
    worker = _start(tmp_path, own_redis.url, SENTQ_WORKER_START_WAIT_S="0").wait_until_ready()
    own_redis.stop()
    eventually(lambda: "Trying again" in worker.log, within_s=60)
    time.sleep(1)
    own_redis.start()
    with Client(broker_url=own_redis.url) as client:
        assert client.submit("a text").result(timeout=60).outcomes
    assert worker.stop() == 0


@pytest.mark.slow
def test_an_unreadable_model_is_reported(
    redis_server: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    (model / "tokenizer.json").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    worker = start_worker(redis_server.url, wait=False, SENTQ_WORKER_MODEL=str(model))
    assert worker.process.wait(60) == EX_CONFIG, worker.log
    assert f"Is a directory {model / 'tokenizer.json'}" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_a_missing_device_is_reported(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_server.url, wait=False, SENTQ_WORKER_DEVICE="cuda:99")
    assert worker.process.wait(60) == EX_CONFIG, worker.log
    assert "cuda:99" in worker.log
    assert "Traceback" not in worker.log
