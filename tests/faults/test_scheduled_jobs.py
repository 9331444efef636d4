"""Jobs that a client sends for later survive the death of all workers and of Redis while they wait:
each is scored once, when it is due."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import redis

from sentq import Client, JobStatus
from tests.support.fork_server import ForkServer
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.workers.standin import has_hash_scores

pytestmark = pytest.mark.slow

JOBS: Final = 1000

#: How long the jobs wait, and how long before they are due the last process is killed.
WAIT_S: Final = 40
REST_S: Final = 10


@pytest.fixture
def lasting_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that loses nothing that it accepted when it is killed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(redis_program(), folder, "--appendfsync", "always").start()
    yield server
    server.stop()


@pytest.fixture
def start(
    tmp_path: Path, fork_server: ForkServer, lasting_redis: RedisProcess
) -> Iterator[Callable[[], WorkerProcess]]:
    """Start workers that record what they score, and kill them after the test."""
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        variables = {
            "SENTQ_BROKER_URL": lasting_redis.url,
            "SENTQ_VISIBILITY_TIMEOUT_S": "3",
            "STANDIN_RECORD": str(tmp_path / "record"),
        }
        module = "tests.support.workers.standin"
        worker = WorkerProcess(tmp_path, variables, (module,), fork_server=fork_server)
        started.append(worker)
        return worker.wait_until_ready()

    yield start
    for worker in started:
        _kill(worker)


def _kill(worker: WorkerProcess) -> None:
    if worker.process.poll() is None:
        worker.process.kill()
        worker.process.wait()


def _count(server: RedisProcess, what: Callable[[redis.Redis], object]) -> int:
    """Return a number that Redis tells; 0 while it is away."""
    with suppress(redis.ConnectionError), server.client() as connection:
        return int(str(what(connection)))
    return 0


def _scheduled(server: RedisProcess) -> int:
    return _count(server, lambda connection: connection.zcard("sentq.scheduled"))


@pytest.mark.long
def test_each_scheduled_job_is_scored_once_though_workers_and_redis_are_killed_while_it_waits(
    tmp_path: Path, lasting_redis: RedisProcess, start: Callable[[], WorkerProcess]
) -> None:
    record = tmp_path / "record"
    texts = [f"job-{number} waits" for number in range(JOBS)]
    with Client(broker_url=lasting_redis.url) as client:
        at = datetime.now(UTC) + timedelta(seconds=WAIT_S)
        jobs = client.submit_many(texts, at=at)
        # No worker runs: they wait in the queue.
        assert {job.status() for job in jobs[:5]} == {JobStatus.SCHEDULED}
        rounds = 0
        while (left_s := (at - datetime.now(UTC)).total_seconds()) > REST_S:
            worker = start()
            # The first one is killed while it moves them into the schedule.
            least = 50 if rounds == 0 else JOBS
            with suppress(AssertionError):
                eventually(lambda: _scheduled(lasting_redis) >= least, within_s=left_s - REST_S)  # noqa: B023
            if rounds % 2:
                lasting_redis.kill()
                lasting_redis.start()
            _kill(worker)
            rounds += 1
        assert not record.read_text(), "a job was scored before it was due"
        assert rounds >= 4
        last = start()
        eventually(lambda: _scheduled(lasting_redis) == JOBS, what="all jobs scheduled")
        assert client.service_status().scheduled_jobs == JOBS
        assert client.backlog().scheduled_jobs == JOBS
        assert datetime.now(UTC) < at, "this machine is too slow for this test"
        lasting_redis.kill()
        lasting_redis.start()
        outcomes = list(client.results(jobs, timeout=60))
        assert time.time() >= at.timestamp()
        for text, outcome in zip(texts, outcomes, strict=True):
            assert has_hash_scores(outcome, text)
        status = client.service_status()
        assert (status.scheduled_jobs, status.queues[0].waiting_jobs) == (0, 0)
        assert last.stop() == 0
    scored = Counter(word for line in record.read_text().splitlines() for word in line.split()[1:])
    assert scored == Counter(text.split()[0] for text in texts)
