"""Retried jobs, jobs past their deadline, cancelled jobs, and batches."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentq import Client, JobOutcome, TextError
from sentq.contract import DEADLINE_HEADER, ErrorCode
from sentq.errors import InvalidInput, JobCancelled
from tests.support.celery.site import NAME, Site, run_site, start_gated
from tests.support.processes import eventually
from tests.support.redis_state import lost_deliveries_of, set_lost_deliveries
from tests.support.workers.gated import (
    batches,
    failed_calls,
    make_available,
    make_unavailable,
    prefetched,
    release,
    scored,
)

_CLOCK_TOLERANCE_MS = 500

_BOTH_PATHS = pytest.mark.parametrize(
    "options", [{}, {"expires": 600}], ids=["plain", "Celery's own path"]
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site"), SENTQ_WORKER_PREFETCH_JOBS="8") as site:
        yield site


@pytest.mark.slow
@_BOTH_PATHS
def test_a_job_that_ran_out_of_memory_is_retried_and_delays_no_other_job(
    site: Site, options: dict[str, Any]
) -> None:
    text = f"short:2 {options}"
    job = site.score("neighbour", text, **options)
    eventually(lambda: site.was_scored(text))
    others = [site.score(f"meanwhile {number}") for number in range(20)]
    for other in others:
        other.get(timeout=10)
    assert job.status in {"PENDING", "STARTED"}
    outcome = job.get(timeout=20)
    assert outcome["attempts"] == 3
    assert all("label" in text for text in outcome["outcomes"])


@pytest.mark.slow
def test_a_job_out_of_memory_three_times_returns_resource_exhausted(site: Site) -> None:
    job = site.score("neighbour", "short:9 for ever")
    outcome = JobOutcome.model_validate(job.get(timeout=20))
    assert outcome.attempts == 3
    scored_text, exhausted = outcome.outcomes
    assert not isinstance(scored_text, TextError)
    assert isinstance(exhausted, TextError)
    assert exhausted.code is ErrorCode.RESOURCE_EXHAUSTED
    assert site.is_settled()


@pytest.mark.slow
@_BOTH_PATHS
def test_a_job_past_its_deadline_returns_deadline_passed_and_is_not_scored(
    site: Site, options: dict[str, Any]
) -> None:
    with site.engine_busy("late"):
        now_ms = _redis_ms(site)
        late = site.score("late", "later", headers={DEADLINE_HEADER: now_ms + 300}, **options)
        early = site.score("early", headers={DEADLINE_HEADER: now_ms + 600_000}, **options)
        # The worker's clock differs from Redis' by half a round trip of its lease thread.
        eventually(lambda: _redis_ms(site) > now_ms + 300 + _CLOCK_TOLERANCE_MS)
    outcome = JobOutcome.model_validate(late.get(timeout=10))
    assert [getattr(text, "code", None) for text in outcome.outcomes] == ["deadline_passed"] * 2
    assert outcome.inference_ms == 0
    assert len(early.get(timeout=10)["outcomes"]) == 1
    assert not site.was_scored("late")
    assert site.was_scored("early")
    eventually(site.is_settled)


@pytest.mark.slow
def test_a_deadline_passes_while_the_engine_is_unavailable(site: Site) -> None:
    make_unavailable(site.redis, retry_after_s=6)
    try:
        job = site.score("in vain", headers={DEADLINE_HEADER: _redis_ms(site) + 500.5})
        eventually(lambda: failed_calls(site.redis))
        (text,) = job.get(timeout=5)["outcomes"]
        assert text["code"] == "deadline_passed"
    finally:
        make_available(site.redis)


@pytest.mark.slow
@_BOTH_PATHS
@pytest.mark.parametrize("deadline", ["soon", True, [1], {"at": 1}, float("inf"), float("nan")])
def test_a_deadline_that_is_not_a_number_fails_only_its_own_job(
    site: Site, deadline: object, options: dict[str, Any]
) -> None:
    wrong = site.score("wrong", headers={DEADLINE_HEADER: deadline}, **options)
    right = site.score("right")
    with pytest.raises(Exception, match=f"{DEADLINE_HEADER} must be a number") as refused:
        wrong.get(timeout=10)
    assert type(refused.value).__name__ == InvalidInput.__name__
    assert right.get(timeout=10)["attempts"] == 1
    eventually(site.is_settled)


@pytest.mark.slow
@_BOTH_PATHS
def test_a_job_cancelled_before_a_worker_starts_is_discarded(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with run_site(tmp_path) as site, Client(broker_url=site.server.url) as client:
        assert site.worker.stop() == 0
        cancelled, kept = client.submit("cancelled"), client.submit("kept")
        assert cancelled.cancel()
        key = f"celery-task-meta-{cancelled.id}"
        result = site.redis.get(key)
        if options:
            site.redis.lpop("sentq", 2)
            site.score("cancelled", task_id=cancelled.id, **options)
            site.score("kept", task_id=kept.id, **options)
        successor = start_gated(tmp_path, site.server.url)
        try:
            kept.result(timeout=30)
            eventually(site.is_settled)
        finally:
            assert successor.stop() == 0
        assert list(scored(site.redis)) == ["kept"]
        assert site.redis.get(key) == result
        with pytest.raises(JobCancelled):
            cancelled.result(timeout=10)


@pytest.mark.slow
def test_a_suspect_job_is_marked_and_runs_alone(site: Site) -> None:
    with site.engine_busy("busy"):
        before = [site.score(f"before {number}") for number in range(2)]
        suspect_id = str(uuid.uuid4())
        set_lost_deliveries(site.redis, suspect_id, 2)
        suspect = site.score("hold:suspect", task_id=suspect_id, headers={"redelivered": True})
        after = [site.score(f"after {number}") for number in range(2)]
        eventually(lambda: site.redis.hlen("unacked") == 6)
    eventually(lambda: site.was_scored("hold:suspect"))
    entries = map(json.loads, site.redis.hvals("unacked"))
    marks = {
        message["headers"]["id"]: message["headers"].get("sentq_alone") for message, *_ in entries
    }
    assert {job_id for job_id, mark in marks.items() if mark} == {suspect.id}
    assert marks[suspect.id]["worker"] == NAME
    release(site.redis, "suspect")
    for job in (*before, suspect, *after):
        job.get(timeout=10)
    assert batches(site.redis)[-3:] == [
        ["before 0", "before 1"],
        ["hold:suspect"],
        ["after 0", "after 1"],
    ]
    assert suspect.get()["attempts"] == 3
    assert lost_deliveries_of(site.redis, suspect_id) is None, "it is completed"


def test_the_next_batch_is_read_while_the_current_one_is_scored(site: Site) -> None:
    long = "two of these texts exceed the budget of a batch " * 400
    with site.engine_busy("now"):
        jobs = [site.score("hold:then", long), site.score("next", long), site.score("last", long)]
        eventually(lambda: site.redis.hlen("unacked") == 4)
        before = len(prefetched(site.redis))
    eventually(lambda: site.was_scored("hold:then"))
    eventually(lambda: prefetched(site.redis)[before:] == [["next", long]])
    assert not site.was_scored("next")
    release(site.redis, "then")
    for job in jobs:
        job.get(timeout=10)
    assert prefetched(site.redis)[before:] == [["next", long], ["last", long]]


def _redis_ms(site: Site) -> int:
    seconds, microseconds = site.redis.time()
    return int(seconds * 1000 + microseconds // 1000)
