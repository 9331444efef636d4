"""`Client.as_completed`: jobs of any sender, as they end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from sentq import Client, errors
from sentq.wire.ids import new_job_ids
from tests.support.processes import eventually

pytestmark = pytest.mark.redis


def test_jobs_are_yielded_in_the_order_in_which_they_end(
    client: Client, server: redis.Redis
) -> None:
    jobs = client.submit_many(f"text {number}" for number in range(1100))
    ended = client.as_completed([jobs[0].id, *jobs], timeout=10)
    for job in (jobs[700], jobs[3]):
        job.cancel()
        found, outcome = next(ended)
        assert found.id == job.id
        assert isinstance(outcome, errors.JobCancelled)
    with ThreadPoolExecutor(1) as thread:
        left = thread.submit(lambda: {job.id for job, _ in ended})
        for job in jobs:
            job.cancel()
        assert left.result(30) == {job.id for job in jobs} - {jobs[700].id, jobs[3].id}
    eventually(lambda: not server.pubsub_channels(), what="no subscription is left")


def test_jobs_that_ended_before_come_first(client: Client) -> None:
    jobs = client.submit_many(["one", "two", "three"])
    jobs[1].cancel()
    ended = client.as_completed(jobs, timeout=10)
    assert next(ended)[0].id == jobs[1].id


def test_an_unknown_job_has_an_error_and_stops_no_other(client: Client) -> None:
    job = client.submit("text")
    job.cancel()
    unknown = new_job_ids(1)[0]
    found = {each.id: type(outcome) for each, outcome in client.as_completed([unknown, job])}
    assert found == {unknown: errors.UnknownJob, job.id: errors.JobCancelled}


def test_a_job_that_expires_meanwhile_has_an_error(client: Client, server: redis.Redis) -> None:
    job = client.submit("text")
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(lambda: list(client.as_completed([job], timeout=20)))
        eventually(server.pubsub_channels)
        server.delete(f"celery-task-meta-{job.id}")
        ((found, outcome),) = reading.result(20)
    assert found.id == job.id
    assert isinstance(outcome, errors.UnknownJob)


def test_waiting_ends_with_a_typed_error(client: Client) -> None:
    job = client.submit("text")
    with pytest.raises(errors.WaitTimeout) as caught:
        list(client.as_completed([job], timeout=0.1))
    assert (caught.value.job_id, caught.value.status) == (job.id, "queued")


def test_no_jobs_are_no_wait(client: Client) -> None:
    assert list(client.as_completed([])) == []
    with pytest.raises(errors.InvalidInput):
        client.as_completed("one id")


def test_a_document_that_is_none_of_celerys_stops_no_other(
    client: Client, server: redis.Redis
) -> None:
    jobs = client.submit_many(["one", "two"])
    server.set(f"celery-task-meta-{jobs[0].id}", "junk")
    jobs[1].cancel()
    found = {job.id: type(outcome) for job, outcome in client.as_completed(jobs, timeout=5)}
    assert found == {jobs[0].id: errors.JobFailed, jobs[1].id: errors.JobCancelled}
