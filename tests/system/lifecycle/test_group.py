"""Several worker processes under one parent: restarts, signals, metrics, a killed parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from sentq import Client
from sentq_worker.exit_codes import EX_CONFIG, EX_SOFTWARE
from tests.support.models.tiny import long_texts
from tests.support.monitoring.scrape import get, promtool_complaints, scrape
from tests.support.ports import free_port
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually

pytestmark = pytest.mark.slow

_STANDINS = ("tests.support.workers.group",)
_HOST = socket.gethostname()


def _children(parent: WorkerProcess) -> dict[str, int]:
    """Return the ids of the living children by their names."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (folder / "cmdline").read_text().split("\0")
            parent_id = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_id == parent.process.pid and "--parent-fd" in words:
                found[words[words.index("--name") + 1]] = int(folder.name)
    return found


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _wait_until_ready(parent: WorkerProcess, times: int = 1) -> None:
    eventually(
        lambda: (
            parent.log.count("all 2 processes are ready") >= times
            or parent.process.poll() is not None
        ),
        within_s=150,
        what="a group",
    )
    assert parent.process.poll() is None, parent.log


def test_a_killed_process_is_restarted_and_sigterm_ends_all(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    parent = start_worker(
        redis_server.url,
        *("--processes", "2", "--device", "cpu", "--name", "shop@%h"),
        wait=False,
        SENTQ_WORKER_METRICS_PORT=str(port),
        SENTQ_VISIBILITY_TIMEOUT_S="2",
    )
    eventually(lambda: get(f"{url}/livez").status == 200, within_s=60)
    assert get(f"{url}/readyz").status == 503
    _wait_until_ready(parent)
    assert get(f"{url}/readyz").body == "ready: 2 of 2 processes are ready\n"

    children = _children(parent)
    assert set(children) == {f"shop-cpu0@{_HOST}", f"shop-cpu1@{_HOST}"}
    cores = [os.sched_getaffinity(pid) for pid in children.values()]
    if len(usable := os.sched_getaffinity(0)) > 1:
        assert cores[0].isdisjoint(cores[1])
        assert cores[0] | cores[1] == usable

    jobs = [client.submit(long_texts()) for _ in range(4)]
    eventually(lambda: {job.status() for job in jobs} & {"running"}, within_s=60)
    killed = children[f"shop-cpu0@{_HOST}"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: "process cpu0 was ended by SIGKILL" in parent.log)
    for job in jobs:
        assert len(job.result(timeout=150).outcomes) == 10
    _wait_until_ready(parent, times=2)
    restarted = _children(parent)
    assert set(restarted) == set(children)
    assert restarted[f"shop-cpu0@{_HOST}"] != killed

    seen = scrape(url)
    assert promtool_complaints(seen.text) == ""
    assert seen.value("sentq_process_restarts_total", process="cpu0") == 1
    assert seen.value("sentq_process_restarts_total", process="cpu1") == 0
    assert seen.value("sentq_processes", state="ready") == 2
    done = {process for _, process, _ in seen.series("sentq_jobs_total")}
    assert done == {"cpu0", "cpu1"}

    assert parent.stop(within_s=60) == 0, parent.log
    assert not any(map(_runs, restarted.values()))
    assert "INFO/shop-cpu1] " in parent.log
    assert get(f"{url}/metrics").status == 0


def test_a_second_signal_requeues_and_a_killed_parent_takes_its_children_with_it(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker
) -> None:
    def start() -> tuple[WorkerProcess, dict[str, int]]:
        parent = start_worker(
            redis_server.url,
            command=_STANDINS,
            wait=False,
            SENTQ_WORKER_DEVICES="auto",
            SENTQ_WORKER_PROCESSES="2",
            SENTQ_LOG_FORMAT="json",
            STANDIN_DELAY_S="60",
        )
        _wait_until_ready(parent)
        return parent, _children(parent)

    parent, children = start()
    assert "auto finds no GPU here" in parent.log
    jobs = [client.submit(text) for text in ("a", "b", "c")]
    with redis_server.client() as redis:
        eventually(lambda: redis.hlen("unacked") == 3)
    for pid in (parent.process.pid, *children.values()):  # As a service manager may do.
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: parent.log.count("Warm shutdown") == 2)
    assert parent.process.poll() is None, "the batches have their grace"
    parent.process.send_signal(signal.SIGTERM)
    assert parent.process.wait(30) == 128 + signal.SIGTERM, parent.log
    assert not any(map(_runs, children.values()))
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.hlen("unacked")) == (3, 0)
    lines = [json.loads(line) for line in parent.log.splitlines() if line.startswith("{")]
    base = f"celery-{parent.process.pid}"
    workers = {f"{base}{part}@{_HOST}" for part in ("", "-cpu0", "-cpu1")}
    assert {line.get("worker") for line in lines} >= workers

    for job in jobs:
        job.cancel()
    parent, children = start()
    parent.process.kill()
    parent.process.wait()
    eventually(lambda: not any(map(_runs, children.values())), within_s=30)
    assert parent.log.count("the parent of this worker is gone") == 2


def test_a_process_that_cannot_start_ends_the_group(
    redis_server: RedisProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "nowhere")
    wrong = start_worker(
        redis_server.url,
        *("--processes", "2", "--device", "cpu", "--model", nowhere),
        wait=False,
    )
    assert eventually(wrong.process.poll, within_s=120) == EX_CONFIG, wrong.log
    assert f"the model {nowhere}" in wrong.log or nowhere in wrong.log
    assert "has ended with status 78" in wrong.log
    assert "all processes end" in wrong.log

    failing = start_worker(
        redis_server.url,
        command=_STANDINS,
        wait=False,
        SENTQ_WORKER_DEVICES="cpu",
        SENTQ_WORKER_RESTART_LIMIT="1",
        GROUP_EXIT=str(EX_SOFTWARE),
    )
    assert eventually(failing.process.poll, within_s=120) == EX_SOFTWARE, failing.log
    assert failing.log.count("has ended with status 70") == 2
    assert "failure 1 in a row: it is started again" in failing.log
    assert "Traceback" not in failing.log + wrong.log
