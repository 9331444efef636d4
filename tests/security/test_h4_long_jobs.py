"""No job keeps other jobs waiting for longer than a few seconds, with any texts."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import sentq_model
from benchmarks.interactive import Latencies, attack_texts, score_interactive_jobs
from sentq import Client, JobFailed, JobStatus, TooManyTokens
from sentq.contract import Limits, Prediction
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.celery.site import Site, run_site, start_gated
from tests.support.processes import RedisProcess, StartWorker, eventually
from tests.support.redis_state import set_lost_deliveries
from tests.support.workers.gated import release

#: More than a worker has in flight otherwise.
_LARGE = "x" * 99_000


@contextmanager
def _computing(site: Site, name: str, *more: str, **options: Any) -> Iterator[Any]:
    """Keep the engine computing a job, in steps, until the context is left."""
    job = site.score(f"compute:{name}", *more, **options)
    eventually(lambda: job.id in _active(site), what="a job in the engine")
    try:
        yield job
    finally:
        release(site.redis, name)


def _active(site: Site) -> list[str]:
    return [job["id"] for job in site.inspect("active")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, SENTQ_WORKER_YIELD_AFTER_S="0.1") as site:
        yield site


def test_jobs_are_answered_while_a_large_job_computes(site: Site) -> None:
    # The large job alone fills what a worker has in flight.
    with _computing(site, "a", _LARGE, _LARGE) as large:
        for number in range(20):
            plain = number % 2 == 0
            job = site.score(f"text {number}", **({} if plain else {"expires": 600}))
            assert job.get(10)["outcomes"]
        assert large.id in _active(site)
        assert large.status == "STARTED"
    assert large.get(10)["outcomes"][1]["label"]
    eventually(site.is_settled)


def test_several_jobs_compute_side_by_side_and_monitors_see_them(site: Site) -> None:
    with _computing(site, "a") as first, _computing(site, "b") as second:
        assert site.score("a text").get(10)["outcomes"]
        assert _active(site) == [first.id, second.id]
        assert site.redis.hlen("unacked") == 2
    assert first.get(10)["outcomes"]
    assert second.get(10)["outcomes"]


def _score_suspect(site: Site, text: str) -> Any:
    """Send a job over which two workers were lost, as workers record it."""
    job_id = str(uuid4())
    set_lost_deliveries(site.redis, job_id, 2)
    return site.score(text, task_id=job_id, headers={"redelivered": True})


def test_a_revoked_job_is_not_scored_beside_a_large_one(site: Site) -> None:
    with _computing(site, "a"), _computing(site, "b"):
        suspect = _score_suspect(site, "a suspect")
        eventually(lambda: suspect.id in [job["id"] for job in site.inspect("reserved")])
        site.revoke(suspect.id)
        eventually(lambda: suspect.status == "REVOKED")
        assert not site.was_scored("a suspect")


def test_a_suspect_runs_alone_and_only_when_no_other_job_computes(site: Site) -> None:
    with _computing(site, "a"):
        suspect = _score_suspect(site, "compute:suspect")
        assert site.score("a text").get(10)["outcomes"]
        assert "runs alone" not in site.worker.log
    eventually(lambda: suspect.id in _active(site), what="the suspect in the engine")
    beside = site.score("beside the suspect")
    eventually(lambda: beside.id in [job["id"] for job in site.inspect("reserved")])
    assert _active(site) == [suspect.id]
    release(site.redis, "suspect")
    assert beside.get(10)["outcomes"]
    assert suspect.get(10)["outcomes"]


def test_bulk_work_goes_on_beside_a_job_that_computes_for_very_long(site: Site) -> None:
    with _computing(site, "a", _LARGE, _LARGE):
        # Bulk work is taken only as far as it was before: the large job fills the worker.
        bulk = site.score("bulk work", queue="sentq.bulk")
        assert site.score("a text").get(10)["outcomes"]
        assert not site.was_scored("bulk work")
    assert bulk.get(10)["outcomes"]
    with _computing(site, "b"):
        assert site.score("bulk work", queue="sentq.bulk").get(10)["outcomes"]


@pytest.mark.slow
def test_a_job_in_the_middle_of_its_steps_is_requeued_when_its_worker_ends(
    tmp_path: Path,
) -> None:
    with run_site(
        tmp_path, SENTQ_WORKER_YIELD_AFTER_S="0.1", SENTQ_WORKER_SHUTDOWN_GRACE_S="5"
    ) as site:
        first = site.score("compute:a")
        eventually(lambda: _active(site) == [first.id])  # Else both may be one batch.
        second = site.score("compute:b")
        eventually(lambda: _active(site) == [first.id, second.id])
        site.worker.process.send_signal(signal.SIGTERM)
        release(site.redis, "b")
        assert site.worker.process.wait(30) == 0
        assert second.status == "SUCCESS"
        assert site.redis.llen("sentq") == 1
        assert site.is_settled()
        release(site.redis, "a")
        release(site.redis, "a")
        successor = start_gated(tmp_path, site.server.url).wait_until_ready()
        assert first.get(20)["attempts"] == 2
        assert successor.stop() == 0


@pytest.mark.slow
def test_the_watchdog_leaves_an_engine_alone_that_makes_progress(tmp_path: Path) -> None:
    with (
        run_site(
            tmp_path, SENTQ_WORKER_YIELD_AFTER_S="0.1", SENTQ_WORKER_BATCH_LIMIT_S="1"
        ) as site,
        _computing(site, "a") as job,
    ):
        time.sleep(3)  # Several times the limit.
        assert site.score("a text").get(10)["outcomes"]
        assert job.id in _active(site)


@pytest.mark.slow
@pytest.mark.models
def test_results_are_equal_whether_or_not_a_job_yields() -> None:
    texts = [f"{_LARGE[:40]} the {n}. room was clean! " * (1 + n * 7) for n in range(12)]
    scorer = load_scorer(WorkerSettings(threads=1, dtype="float32"), Limits())
    others: list[object] = []
    steps = scorer.score_in_steps([texts])
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            (in_steps,) = stop.value
            break
        others.append(scorer.score([["another job"]]))
    assert len(others) > 2
    assert scorer.score([texts]) == [in_steps]


@pytest.mark.models
def test_a_job_of_too_many_tokens_fails_and_its_neighbours_are_scored() -> None:
    settings = WorkerSettings(threads=1, tokens_per_job=1_000)
    scorer = load_scorer(settings, Limits())
    repeated = ["a text " * 10] * 256
    (outcome, failure, same) = _run(
        scorer, [["a text"], ["a " * 600, "b " * 600, "a text"], repeated]
    )
    assert isinstance(outcome[0], Prediction)
    assert isinstance(failure, TooManyTokens)
    assert str(failure) == "1,202 tokens; the limit is 1,000 a job"
    assert len(same) == 256, "a repeated text is computed once, and counts once"
    with pytest.raises(TooManyTokens):
        scorer.score([["a " * 1_001]])


def _run(scorer: Any, jobs: list[list[str]]) -> Any:
    steps = scorer.score_in_steps(jobs)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.slow
@pytest.mark.process
def test_a_sender_learns_that_its_job_has_too_many_tokens(
    start_worker: StartWorker, redis_server: RedisProcess, client: Client
) -> None:
    start_worker(redis_server.url, SENTQ_WORKER_TOKENS_PER_JOB="500")
    job = client.submit(["a b c " * 1_000])
    with pytest.raises(JobFailed) as failure:
        job.result(timeout=60)
    assert failure.value.code == "TooManyTokens"
    assert job.status() is JobStatus.FAILED
    assert client.submit(["a text"]).result(timeout=60).outcomes


#: The attacks of the review, as texts.
_ATTACKS = {
    "1 MiB of !": attack_texts(1_040_000),
    "256 texts": [f"{'a ' * 1_500}{n}" for n in range(256)],
    "no-break spaces": ["\xa0" * 52_000 + f"{n} a" for n in range(3)],
    "as many tokens as permitted": attack_texts(520_000),
}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", _ATTACKS)
def test_200_interactive_jobs_are_answered_beside_each_attack(
    start_worker: StartWorker, redis_server: RedisProcess, client: Client, name: str
) -> None:
    start_worker(
        redis_server.url, SENTQ_WORKER_MODEL=str(sentq_model.folder()), SENTQ_WORKER_DEVICE="cpu"
    )
    client.submit(["a first text"]).result(timeout=60)
    attack = client.submit(_ATTACKS[name])
    latencies: Latencies = score_interactive_jobs(client, count=200, interval_s=0.05)
    status = attack.status()
    print(  # noqa: T201 - for readers of `pytest -s`
        f"\n{name}: longest {latencies.longest_s:.2f} s, p99 {latencies.percentile_s(99):.2f} s, "
        f"p50 {latencies.percentile_s(50):.2f} s; the attack is {status.value} then"
    )
    if name == "as many tokens as permitted":
        assert status is JobStatus.RUNNING, "the attack was answered before the interactive jobs"
    if name == "1 MiB of !":
        with pytest.raises(JobFailed, match="1,039,940 tokens"):
            attack.result(timeout=60)
    assert client.submit(["a last text"]).result(timeout=60).outcomes
