"""Send options, cancellation, status and dead letters, with a real worker and a gated engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis.exceptions import NoPermissionError

from sentq import Client, JobOutcome, JobStatus, Prediction, errors
from sentq.admin.dead import RetryResult
from sentq.wire.dead_letters import DeadLetterCode
from tests.support.celery.site import NAME, Site, run_site
from tests.support.processes import RedisProcess, StartWorker, eventually
from tests.support.workers.standin import hash_score

WAIT_S = 30


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site
        eventually(site.is_settled, what="everything acknowledged")


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url) as client:
        yield client


@pytest.fixture(scope="module")
def operator(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url_of("operator")) as operator:
        yield operator


def test_a_cancelled_job_is_not_scored(site: Site, client: Client) -> None:
    with site.engine_busy("cancel"):
        job, other = client.submit_many(["cancelled", "kept"])
        eventually(lambda: len(site.inspect("reserved")) == 2)
        assert job.cancel()
        eventually(lambda: job.id in site.inspect("revoked"), what="a revocation in the worker")
    (kept,) = other.result(WAIT_S).outcomes
    assert isinstance(kept, Prediction)
    assert kept.score == hash_score("kept")
    assert job.status() is JobStatus.CANCELLED
    with pytest.raises(errors.JobCancelled):
        job.result(WAIT_S)
    assert not site.was_scored("cancelled")


@pytest.mark.slow
def test_a_worker_finds_cancelled_jobs_without_a_control_message(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client whose Redis user may not send control messages gets this error.
    monkeypatch.setattr(client._app.control, "revoke", _not_permitted)
    with site.engine_busy("cancel without message"):
        job = client.submit("cancelled without message")
        eventually(lambda: len(site.inspect("reserved")) == 1)
        assert job.cancel()
        eventually(lambda: job.id in site.inspect("revoked"), what="a revocation in the worker")
    client.submit("after").result(WAIT_S)
    assert not site.was_scored("cancelled without message")


def _not_permitted(_job_id: str, **_: object) -> None:
    raise NoPermissionError


def test_status_shows_the_worker(site: Site, client: Client, operator: Client) -> None:
    client.submit("text").result(WAIT_S)
    # The worker's first report may come before it reads its queues, and before its first job.
    eventually(lambda: operator.service_status().workers[0].jobs_finished > 0)
    eventually(lambda: operator.service_status().workers[0].queues)
    (worker,) = operator.service_status().workers
    assert (worker.worker, worker.backend) == (NAME, "test")
    assert set(worker.queues) == {"sentq", "sentq.bulk"}
    with site.engine_busy("status"):
        client.submit("in flight")
        eventually(lambda: operator.service_status().workers[0].in_flight_jobs == 2)
        # The worker's report may still be the one of an earlier test.
        eventually(lambda: operator.service_status().in_flight_jobs == 2)


def test_a_job_with_send_options_is_scored(site: Site, client: Client) -> None:
    with site.engine_busy("options"):
        job = client.submit(["a", "b"], key="key", deadline=60, local_only=True)
        assert client.submit(["a", "b"], key="key", local_only=True).id == job.id
        eventually(lambda: len(site.inspect("reserved")) == 1)
    assert [outcome.score for outcome in job.result(WAIT_S).outcomes] == [  # type: ignore[union-attr]
        hash_score("a"),
        hash_score("b"),
    ]
    assert client.submit(["a", "b"], key="key", local_only=True).id == job.id, (
        "the key is also known after the job has ended"
    )


def test_a_job_whose_deadline_passed_in_the_queue_is_not_scored(site: Site, client: Client) -> None:
    with site.engine_busy("deadline"):
        late, other = client.submit(["late"] * 2, deadline=0.2), client.submit("early", deadline=60)
        passed_at = time.monotonic() + 0.5
        eventually(lambda: time.monotonic() > passed_at)
    outcomes = late.result(WAIT_S).outcomes
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["deadline_passed"] * 2
    assert late.status() is JobStatus.DONE
    assert isinstance(other.result(WAIT_S).outcomes[0], Prediction)
    assert not site.was_scored("late")


def test_a_dead_letter_of_a_worker_can_be_read_retried_and_dropped(
    site: Site, operator: Client
) -> None:
    site.redis.lpush("sentq", "no message")
    eventually(operator.dead.count, what="a dead letter")
    (dead_letter,) = operator.dead.entries()
    assert (dead_letter.code, dead_letter.queue, dead_letter.worker) == (
        DeadLetterCode.MALFORMED,
        "sentq",
        NAME,
    )
    assert dead_letter.message == b"no message"
    assert operator.dead.retry(dead_letter) is RetryResult.RETRIED
    eventually(operator.dead.count, what="a second dead letter of the same message")
    (second,) = operator.dead.entries()
    assert second.id > dead_letter.id
    assert operator.dead.drop([second.id]) == 1


@pytest.mark.slow
def test_a_worker_continues_when_redis_has_memory_again(
    own_redis: RedisProcess, start_worker: StartWorker
) -> None:
    worker = start_worker(
        own_redis.url, command=("tests.support.workers.standin",), STANDIN_DELAY_S="0.5"
    )
    with Client(broker_url=own_redis.url) as client, own_redis.client() as redis:
        # Their outcomes are larger than they are: smaller ones are stored on a full Redis too.
        jobs = client.submit_many([[f"text {i}"] * 200 for i in range(5)])
        eventually(lambda: jobs[0].status() is JobStatus.RUNNING)
        redis.config_set("maxmemory", 1)
        with pytest.raises(errors.RedisFull):
            client.submit("no room")
        eventually(
            lambda: "maxmemory" in worker.log, what="an out-of-memory error in the worker's log"
        )
        redis.config_set("maxmemory", 0)
        for i, outcome in enumerate(client.results(jobs, timeout=WAIT_S)):
            assert isinstance(outcome, JobOutcome)
            assert len(outcome.outcomes) == 200
            scored = outcome.outcomes[-1]
            assert isinstance(scored, Prediction)
            assert scored.score == hash_score(f"text {i}")
        assert client.submit("room again").result(WAIT_S).outcomes
    assert worker.stop() == 0
