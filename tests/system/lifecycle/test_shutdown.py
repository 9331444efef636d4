"""The end of a worker: after one or two signals, and after a batch over the time limit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentq import Client, JobStatus
from sentq_worker.exit_codes import EX_SOFTWARE, EX_UNAVAILABLE
from tests.support.celery.site import Site, finish_with_successor, run_site, start_gated
from tests.support.models.tiny import long_texts
from tests.support.processes import RedisProcess, StartWorker, eventually, worker_environment
from tests.support.workers.gated import scored

_CANARY = "CANARY51c2"

#: Every third job takes Celery's own path.
_TEXTS = [f"{_CANARY} {number}" for number in range(9)]


def _fill(site: Site) -> list[Any]:
    return [
        site.score(text, **({"expires": 600} if number % 3 == 0 else {}))
        for number, text in enumerate(_TEXTS)
    ]


def test_sigterm_finishes_the_batch_and_requeues_the_rest_in_order(tmp_path: Path) -> None:
    with run_site(tmp_path, SENTQ_WORKER_PREFETCH_JOBS="5") as site:
        with site.engine_busy("batch") as running:
            jobs = _fill(site)
            eventually(lambda: site.redis.hlen("unacked") == 5)
            site.worker.process.send_signal(signal.SIGTERM)
            eventually(lambda: "Warm shutdown" in site.worker.log)
        assert site.worker.process.wait(30) == 0
        assert running.status == "SUCCESS"
        assert site.is_settled()
        assert site.redis.llen("sentq") == len(jobs)
        finish_with_successor(site, tmp_path, jobs)
        assert list(scored(site.redis)) == ["hold:batch", *_TEXTS]


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_requeues_all_jobs_at_once(tmp_path: Path, second: signal.Signals) -> None:
    exit_code = 128 + second
    with run_site(tmp_path, exit_code=exit_code, SENTQ_WORKER_PREFETCH_JOBS="5") as site:
        with site.engine_busy("never") as running:
            jobs = [running, *_fill(site)]
            eventually(lambda: site.redis.hlen("unacked") == 5)
            site.worker.process.send_signal(signal.SIGTERM)
            eventually(lambda: "Warm shutdown" in site.worker.log)
            started = time.monotonic()
            site.worker.process.send_signal(second)
            assert site.worker.process.wait(30) == exit_code
            assert time.monotonic() - started < 3
            assert site.is_settled()
            assert site.redis.llen("sentq") == len(jobs)
            assert _CANARY not in site.worker.log
        finish_with_successor(site, tmp_path, jobs)
        assert list(scored(site.redis)) == ["hold:never", *_TEXTS]


@pytest.mark.slow
def test_sigterm_requeues_in_order_under_sentqs_own_command(
    redis_server: RedisProcess, client: Client, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_server.url, SENTQ_WORKER_SHUTDOWN_GRACE_S="60")
    jobs = [client.submit(long_texts()) for _ in range(3)]
    eventually(lambda: jobs[0].status() is JobStatus.RUNNING)
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Warm shutdown" in worker.log)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 128 + signal.SIGTERM
    with redis_server.client() as redis:
        assert (redis.llen("sentq"), redis.hlen("unacked")) == (3, 0)


@pytest.mark.slow
def test_a_worker_that_is_process_1_of_a_container_shuts_down_gracefully(
    redis_server: RedisProcess, client: Client, tmp_path: Path, tiny_model: Path
) -> None:
    as_process_1 = [
        shutil.which("unshare") or "",
        "--fork",
        "--pid",
        "--mount-proc",
        "--kill-child",
    ]
    if not as_process_1[0] or subprocess.run([*as_process_1, "true"], check=False).returncode:
        pytest.skip("process 1: this user may not create namespaces")
    log = tmp_path / "log"
    with log.open("wb") as output:
        container = subprocess.Popen(
            [*as_process_1, sys.executable, "-m", "sentq_worker"],
            env=os.environ | worker_environment(redis_server.url_of("worker"), tiny_model),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "ready." in log.read_text(), within_s=90)
        job = client.submit("a good day")
        assert job.result(timeout=30).outcomes
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        assert container.wait(30) == 0, log.read_text()
    finally:
        container.kill()
        container.wait()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGTERM], ids=["frozen", "stopped"])
def test_sigterm_without_redis_ends_the_worker_and_loses_no_job(
    own_redis: RedisProcess, tmp_path: Path, trouble: signal.Signals
) -> None:
    assert own_redis.process is not None
    worker = start_gated(tmp_path, own_redis.url, SENTQ_WORKER_SHUTDOWN_GRACE_S="1")
    worker.wait_until_ready()
    with Client(broker_url=own_redis.url) as client, own_redis.client() as redis:
        jobs = [client.submit(text) for text in ("hold:outage", "waits")]
        eventually(lambda: redis.hlen("unacked") == 2)
        own_redis.process.send_signal(trouble)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) in {0, EX_UNAVAILABLE}, worker.log
        own_redis.process.send_signal(signal.SIGCONT)
        own_redis.stop()
        own_redis.start()
        assert redis.hlen("unacked") + redis.llen("sentq") == len(jobs)


@pytest.mark.slow
def test_a_worker_that_loads_its_model_exits_at_the_first_signal(tmp_path: Path) -> None:
    with run_site(tmp_path) as site:
        loading = start_gated(tmp_path, site.server.url, "--loglevel", "DEBUG", GATED_LOAD_S="60")
        eventually(lambda: "Starting EngineStep" in loading.log)
        time.sleep(0.2)  # Until the worker loads the stand-in's model.
        assert loading.stop(within_s=30) == 0


@pytest.mark.slow
def test_a_batch_over_the_time_limit_ends_the_worker_and_its_jobs_are_redelivered(
    tmp_path: Path,
) -> None:
    with (
        run_site(tmp_path, exit_code=EX_SOFTWARE, SENTQ_WORKER_BATCH_LIMIT_S="1") as site,
        site.engine_busy("stuck"),
    ):
        jobs = _fill(site)
        assert site.worker.process.wait(30) == EX_SOFTWARE
        assert "has made no progress for more than 1 s" in site.worker.log
        assert _CANARY not in site.worker.log
        assert "hold:stuck" not in site.worker.log
        assert site.redis.hlen("unacked") + site.redis.llen("sentq") == 1 + len(jobs)
