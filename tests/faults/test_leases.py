"""Leases: a live worker keeps its jobs, and another worker reclaims those of a dead one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import pytest
import redis
from celery import Celery

from sentq import Client, Job, JobStatus, errors
from sentq.contract import DELIVERIES_HEADER
from sentq.wire.reports import read_reports
from tests.support.celery.dead_letters import read_dead_letters
from tests.support.celery.site import stock_app
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.proxy import Proxy
from tests.support.workers.leased import POISON, executed
from tests.support.workers.standin import has_hash_scores

TIMEOUT_S: Final = 2

#: The time after the time-out within which a dead worker's jobs must be finished.
RECOVERY_S: Final = 5

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path, own_redis: RedisProcess) -> Iterator[Start]:
    """Start workers, and kill them after the test."""
    started: list[WorkerProcess] = []

    def start(url: str = own_redis.url, *, wait: bool = True, **environment: str) -> WorkerProcess:
        variables = {
            "SENTQ_BROKER_URL": url,
            "SENTQ_VISIBILITY_TIMEOUT_S": str(TIMEOUT_S),
            "SENTQ_WORKER_SHUTDOWN_GRACE_S": "1",
            "EXECUTED_URL": own_redis.url,
        }
        worker = WorkerProcess(tmp_path, variables | environment, ("tests.support.workers.leased",))
        started.append(worker)
        return worker.wait_until_ready() if wait else worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.kill()
            worker.process.wait()


@pytest.fixture
def client(own_redis: RedisProcess) -> Iterator[Client]:
    with Client(broker_url=own_redis.url) as client:
        yield client


@pytest.fixture
def server(own_redis: RedisProcess) -> Iterator[redis.Redis]:
    with own_redis.client() as server:
        yield server


@pytest.fixture
def stock(own_redis: RedisProcess) -> Iterator[Celery]:
    with stock_app(own_redis.url) as stock:
        yield stock


def _is_right(job: Job, *texts: str, timeout: float = 30) -> bool:
    return has_hash_scores(job.result(timeout=timeout), *texts)


def _kill(worker: WorkerProcess) -> None:
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _is_settled(server: redis.Redis) -> bool:
    return not server.exists("unacked", "unacked_index", "sentq", "sentq.bulk")


def test_jobs_of_a_killed_worker_are_finished_by_another_in_time_and_in_order(
    start: Start, client: Client, server: redis.Redis
) -> None:
    killed = start()
    busy = client.submit("once:60")
    eventually(lambda: busy.status() is JobStatus.RUNNING)
    others = [client.submit(f"text {number}") for number in range(250)]
    eventually(lambda: server.hlen("unacked") == 64, what="a full prefetch window")
    successor = start()  # It takes the other jobs, and its start delay before reclaiming passes.
    assert all(_is_right(job, f"text {n}") for n, job in enumerate(others) if n >= 63)
    time.sleep(RECOVERY_S)
    _kill(killed)
    began = time.monotonic()
    assert all(_is_right(job, f"text {n}") for n, job in enumerate(others[:63]))
    assert time.monotonic() - began < TIMEOUT_S + RECOVERY_S
    reclaimed = [text for text in executed(server) if text.startswith("text ")][-63:]
    assert reclaimed == [f"text {number}" for number in range(63)]
    assert _is_right(busy, "once:60")
    eventually(lambda: _is_settled(server), what="everything acknowledged")
    assert "64 jobs of workers that were lost went back to the queue" in successor.log


@pytest.mark.slow
def test_a_worker_keeps_the_leases_of_a_batch_longer_than_the_visibility_timeout(
    start: Start, client: Client, server: redis.Redis
) -> None:
    long = f"slow:{RECOVERY_S + 3 * TIMEOUT_S}"
    start()
    slow = client.submit(long)
    eventually(lambda: slow.status() is JobStatus.RUNNING)
    waiting = [client.submit(f"waits {number}") for number in range(10)]
    eventually(lambda: server.hlen("unacked") == 11)
    start()
    assert _is_right(slow, long)
    assert all(_is_right(job, f"waits {number}") for number, job in enumerate(waiting))
    assert set(Counter(executed(server)).values()) == {1}
    eventually(lambda: _is_settled(server), what="everything acknowledged")


@pytest.mark.slow
@pytest.mark.parametrize("offset_s", ["-36000", "36000"])
def test_a_worker_with_a_wrong_clock_reclaims_no_live_lease_and_keeps_its_own(
    start: Start, client: Client, server: redis.Redis, offset_s: str
) -> None:
    first = start(SENTQ_WORKER_PREFETCH_JOBS="1")
    kept = client.submit("once:60")
    eventually(lambda: kept.status() is JobStatus.RUNNING)
    start(CLOCK_OFFSET_S=offset_s)
    also_kept = client.submit("slow:8")
    eventually(lambda: len(executed(server)) == 2)
    time.sleep(RECOVERY_S + TIMEOUT_S)
    assert executed(server) == ["once:60", "slow:8"]
    _kill(first)
    assert _is_right(also_kept, "slow:8")
    assert _is_right(kept, "once:60")
    assert executed(server) == ["once:60", "slow:8", "once:60"]


@pytest.mark.slow
def test_workers_keep_their_jobs_after_an_outage_of_redis_beyond_the_timeout(
    start: Start, client: Client, own_redis: RedisProcess, server: redis.Redis
) -> None:
    owner = start()
    slow = client.submit("slow:20")
    eventually(lambda: slow.status() is JobStatus.RUNNING)
    waiting = [client.submit(f"waits {number}") for number in range(10)]
    eventually(lambda: server.hlen("unacked") == 11)
    start()
    time.sleep(RECOVERY_S)  # Until the other worker may reclaim expired leases.
    assert own_redis.process is not None
    for process in (own_redis.process, owner.process):
        process.send_signal(signal.SIGSTOP)
    time.sleep(2 * TIMEOUT_S)
    own_redis.process.send_signal(signal.SIGCONT)
    time.sleep(RECOVERY_S / 2)  # The owner reconnects later than the other worker.
    owner.process.send_signal(signal.SIGCONT)
    assert _is_right(slow, "slow:20")
    assert all(_is_right(job, f"waits {number}") for number, job in enumerate(waiting))
    assert set(Counter(executed(server)).values()) == {1}
    eventually(lambda: _is_settled(server), what="everything acknowledged")


@pytest.mark.slow
def test_a_stopped_worker_discards_jobs_that_others_reclaimed(
    start: Start, client: Client, server: redis.Redis
) -> None:
    frozen = start()
    busy = client.submit("once:25")
    eventually(lambda: busy.status() is JobStatus.RUNNING)
    waiting = [client.submit(f"waits {number}") for number in range(10)]
    eventually(lambda: server.hlen("unacked") == 11)
    frozen.process.send_signal(signal.SIGSTOP)
    start()
    assert all(_is_right(job, f"waits {number}") for number, job in enumerate(waiting))
    frozen.process.send_signal(signal.SIGCONT)
    eventually(lambda: "10 jobs went to other workers" in frozen.log, what="discarded jobs")
    assert _is_right(busy, "once:25")
    assert frozen.stop() == 0
    repeated = Counter(
        {text: count for text, count in Counter(executed(server)).items() if count > 1}
    )
    assert repeated == {"once:25": 2}


@pytest.mark.slow
def test_a_cut_connection_does_not_run_a_job_twice(
    start: Start, client: Client, own_redis: RedisProcess, server: redis.Redis
) -> None:
    with Proxy(own_redis.port) as proxy:
        start(proxy.url)
        slow = client.submit("slow:6")
        eventually(lambda: slow.status() is JobStatus.RUNNING)
        waiting = [client.submit(f"waits {number}") for number in range(10)]
        eventually(lambda: server.hlen("unacked") == 11)
        start()
        for _ in range(3):
            proxy.cut()
            time.sleep(1)
        assert _is_right(slow, "slow:6")
        assert all(_is_right(job, f"waits {number}") for number, job in enumerate(waiting))
        assert set(Counter(executed(server)).values()) == {1}
        eventually(lambda: _is_settled(server), what="everything acknowledged")


@pytest.mark.slow
def test_a_worker_renews_its_leases_while_redis_is_full(
    start: Start, client: Client, server: redis.Redis
) -> None:
    for _ in range(2):
        start()
    long = f"slow:{RECOVERY_S + 3 * TIMEOUT_S}"
    slow = client.submit(long)
    eventually(lambda: slow.status() is JobStatus.RUNNING)
    server.config_set("maxmemory", "1")
    (tag,) = cast("list[bytes]", server.zrange("unacked_index", 0, -1))
    before = server.zscore("unacked_index", tag)
    eventually(lambda: server.zscore("unacked_index", tag) != before, what="a renewal")
    time.sleep(RECOVERY_S + TIMEOUT_S)
    server.config_set("maxmemory", "0")
    assert _is_right(slow, long)
    assert executed(server) == [long]


@pytest.mark.slow
def test_a_job_with_an_eta_beyond_the_timeout_waits_in_redis_and_runs_once(
    start: Start, stock: Celery, server: redis.Redis
) -> None:
    workers = [start(), start()]
    job = stock.send_task(
        "sentq.score", args=[["later"]], queue="sentq", countdown=RECOVERY_S + 2 * TIMEOUT_S
    )
    eventually(lambda: server.zcard("sentq.scheduled"), what="a scheduled job")
    assert not server.exists("unacked", "unacked_index")
    eventually(lambda: job.status == "SUCCESS", within_s=30)
    assert executed(server) == ["later"]
    assert not any("went back to the queue" in worker.log for worker in workers)
    assert job.result["attempts"] == 1
    eventually(lambda: not server.exists("unacked", "unacked_index"), what="an acknowledgement")


@pytest.mark.slow
def test_messages_of_other_queues_are_not_reclaimed(
    start: Start, client: Client, server: redis.Redis
) -> None:
    server.hset("unacked", "theirs", json.dumps([{"body": ""}, "", "another"]))
    server.zadd("unacked_index", {"theirs": 1, "a lease alone": 1})
    start()
    # As left by a stock worker of another application that shares the Redis database.
    assert _is_right(client.submit("a"), "a")
    eventually(lambda: not server.zscore("unacked_index", "a lease alone"), what="a reaper run")
    assert server.hexists("unacked", "theirs")


@pytest.mark.slow
def test_a_poison_job_becomes_a_dead_letter_and_its_neighbours_are_scored(
    start: Start, client: Client, server: redis.Redis
) -> None:
    neighbours = [client.submit(f"neighbour {number}") for number in range(5)]
    poison = client.submit(POISON)
    neighbours += [client.submit(f"neighbour {number}") for number in range(5, 10)]
    for _ in range(3):
        killed = start(wait=False)
        assert killed.process.wait(60) == -signal.SIGKILL, killed.log
    survivor = start()
    with pytest.raises(errors.JobFailed, match="3 workers were lost over this job") as raised:
        poison.result(timeout=30)
    assert raised.value.code == "WorkerLost"
    assert all(_is_right(job, f"neighbour {number}") for number, job in enumerate(neighbours))
    assert executed(server).count(POISON) == 3
    (dead_letter,) = read_dead_letters(server)
    assert (dead_letter.code, dead_letter.job_id, dead_letter.deliveries) == (
        "worker_lost",
        poison.id,
        3,
    )
    assert dead_letter.first_error == dead_letter.last_error == "the worker was lost"
    assert dead_letter.queue == "sentq"
    assert dead_letter.worker is not None
    assert dead_letter.worker.startswith("celery-")
    assert abs(dead_letter.at_s - time.time()) < 60
    assert POISON not in dead_letter.reason
    assert DELIVERIES_HEADER not in json.loads(dead_letter.message)["headers"]
    assert f"job {poison.id} became a dead letter" in survivor.log
    eventually(lambda: _is_settled(server), what="everything acknowledged")
    assert survivor.stop() == 0


@pytest.mark.slow
def test_a_worker_reports_its_state_and_the_report_ends_with_the_worker(
    start: Start, client: Client, server: redis.Redis
) -> None:
    worker = start()
    jobs = [client.submit(f"text {number}") for number in range(20)]
    assert all(_is_right(job, f"text {number}") for number, job in enumerate(jobs))
    slow = client.submit("slow:60")
    eventually(lambda: slow.status() is JobStatus.RUNNING)
    (report,) = eventually(
        lambda: [each for each in read_reports(server) if each.in_flight_jobs == 1], what="a report"
    )
    assert (report.jobs_finished, report.queues) == (20, ("sentq", "sentq.bulk"))
    assert report.jobs_per_s > 0
    assert report.model == "scripted"
    assert report.at_s >= report.started_at_s > time.time() - 120
    worker.stop()
    assert not read_reports(server)
