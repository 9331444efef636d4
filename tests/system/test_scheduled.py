"""Jobs that a client sends for later, with a real worker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from sentq import Client, ErrorCode, JobStatus, TextError, errors
from tests.support.celery.site import Site, run_site
from tests.support.processes import eventually
from tests.support.workers.gated import scored
from tests.support.workers.standin import has_hash_scores

DAY_S: Final = 24 * 60 * 60
WAIT_S: Final = 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site"), SENTQ_WORKER_MAX_ETA_S=str(10 * DAY_S)) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    yield shared
    shared.redis.delete("sentq.scheduled", "sentq.scheduled.messages")


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url) as client:
        yield client


def _text() -> str:
    return f"later {uuid.uuid4()}"


def test_a_job_is_scored_when_it_is_due(site: Site, client: Client) -> None:
    text, at = _text(), datetime.now(UTC) + timedelta(seconds=2)
    job = client.submit(text, at=at)
    assert job.status() is JobStatus.SCHEDULED
    eventually(lambda: client.backlog().scheduled_jobs == 1)
    with Client(broker_url=site.server.url_of("operator")) as operator:
        assert operator.service_status().scheduled_jobs == 1
    assert not site.was_scored(text)
    outcome = job.result(timeout=WAIT_S)
    assert has_hash_scores(outcome, text)
    assert scored(site.redis)[text] >= at.timestamp()
    assert outcome.attempts == 1
    assert outcome.queued_ms is not None
    assert outcome.queued_ms < 1500, "it waited in its queue, and not for its time"
    assert (job.status(), job.due_at()) == (JobStatus.DONE, None)
    assert client.backlog().scheduled_jobs == 0
    eventually(site.is_settled)


@pytest.mark.slow
def test_many_jobs_come_in_the_order_in_which_they_are_due(site: Site, client: Client) -> None:
    first, second = [_text() for _ in range(200)], [_text() for _ in range(200)]
    at = datetime.now(UTC) + timedelta(seconds=3)
    late = client.submit_many(second, at=at + timedelta(milliseconds=500))
    jobs = client.submit_many(first, at=at, bulk=True)
    for text, outcome in zip(first, client.results(jobs, timeout=WAIT_S), strict=True):
        assert has_hash_scores(outcome, text)
    for text, outcome in zip(second, client.results(late, timeout=WAIT_S), strict=True):
        assert has_hash_scores(outcome, text)
    at_s = scored(site.redis)
    assert min(at_s[text] for text in first) >= at.timestamp()
    assert min(at_s[text] for text in second) >= at.timestamp() + 0.5


def test_a_cancelled_job_leaves_the_schedule(site: Site, client: Client) -> None:
    text = _text()
    job, kept = client.submit(text, delay=DAY_S), client.submit("kept", delay=DAY_S)
    eventually(lambda: client.backlog().scheduled_jobs == 2)
    assert job.cancel()
    assert job.status() is JobStatus.CANCELLED
    eventually(lambda: client.backlog().scheduled_jobs == 1)
    assert kept.status() is JobStatus.SCHEDULED
    eventually(site.is_settled)
    assert not site.was_scored(text)


@pytest.mark.slow
def test_a_deadline_is_checked_when_the_job_is_due(site: Site, client: Client) -> None:
    with site.engine_busy(f"busy {uuid.uuid4()}"):
        job = client.submit(text := _text(), delay=0.5, deadline=1)
        time.sleep(1.2)
    (outcome,) = job.result(timeout=WAIT_S).outcomes
    assert isinstance(outcome, TextError)
    assert outcome.code is ErrorCode.DEADLINE_PASSED
    assert not site.was_scored(text)


def test_a_job_that_is_due_later_than_its_worker_permits_fails_with_the_limit(
    site: Site, client: Client
) -> None:
    job = client.submit("text", delay=20 * DAY_S)
    with pytest.raises(errors.JobFailed, match="the limit is 864,000 s") as failure:
        job.result(timeout=WAIT_S)
    assert failure.value.code == "EtaTooFar"
    eventually(site.is_settled)
