"""Reading many outcomes: in the order of jobs, with errors in their places."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sentq import Client, Job, JobOutcome, errors
from sentq.connection.app import make_app
from sentq.wire.ids import new_job_ids
from sentq.wire.steps import Deadline, Steps
from sentq_worker.broker.results import ResultStore, failed, succeeded
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess


def _outcome(model: str) -> dict[str, object]:
    about = {"model": model, "revision": None, "backend": "test", "dtype": "none"}
    return about | {"outcomes": [], "attempts": 1, "queued_ms": None, "inference_ms": 0.0}


@pytest.fixture
def store(client: Client) -> Iterator[ResultStore]:
    """Stores results as a worker does."""
    with closing_results(make_app(client._settings)) as app:
        yield ResultStore(app)


def _finish(store: ResultStore, jobs: Sequence[Job]) -> None:
    store.store({job.id: succeeded(job.id, _outcome(job.id)) for job in jobs})


def _read(client: Client, jobs: Sequence[Job]) -> Iterator[str]:
    for outcome in client.results(jobs, timeout=20):
        assert isinstance(outcome, JobOutcome)
        yield outcome.model


def test_stored_outcomes_are_read_in_few_round_trips(
    client: Client, store: ResultStore, redis_server: RedisProcess
) -> None:
    jobs = client.submit_many(f"text {i}" for i in range(2000))
    _finish(store, jobs)
    with redis_server.client() as redis:
        redis.config_resetstat()
        assert list(_read(client, jobs)) == [job.id for job in jobs]
        calls = redis.info("commandstats")
    assert calls["cmdstat_mget"]["calls"] < 20
    assert "cmdstat_subscribe" not in calls


@pytest.mark.parametrize("per_step", [1, 7, 100])
def test_outcomes_keep_the_order_of_jobs_in_any_order_of_completion(
    client: Client, store: ResultStore, per_step: int
) -> None:
    jobs = client.submit_many(f"text {i}" for i in range(200))

    def finish_backwards_in_groups() -> None:
        for first in range(0, len(jobs), 50):
            group = jobs[first : first + 50][::-1]
            for at in range(0, len(group), per_step):
                _finish(store, group[at : at + per_step])

    worker = threading.Thread(target=finish_backwards_in_groups)
    worker.start()
    assert list(_read(client, jobs)) == [job.id for job in jobs]
    worker.join()


def test_an_outcome_stored_just_before_the_subscription_is_not_missed(
    client: Client, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit("text")
    subscribe = client._results._listen_steps

    def finish_just_before(job_id: str, deadline: Deadline) -> Steps[dict[str, Any]]:
        _finish(store, [job])
        return subscribe(job_id, deadline)

    monkeypatch.setattr(client._results, "_listen_steps", finish_just_before)
    started = time.monotonic()
    assert list(_read(client, [job])) == [job.id]
    assert time.monotonic() - started < 1.5, "the outcome was found by polling, not at once"


def test_errors_are_yielded_in_the_order_of_jobs(client: Client, store: ResultStore) -> None:
    good, bad, late = client.submit_many(["good", "bad", "late"])
    unknown = client.job(new_job_ids(1)[0])
    _finish(store, [good])
    store.store({bad.id: failed(bad.id, LookupError("reason"))})
    outcomes = list(client.results([bad, late, unknown, good], timeout=0.2))
    assert isinstance(outcomes[0], errors.JobFailed)
    assert isinstance(outcomes[1], errors.WaitTimeout)
    assert isinstance(outcomes[2], errors.UnknownJob)
    assert isinstance(outcomes[3], JobOutcome)


def test_reading_continues_after_a_restart_of_redis(own_redis: RedisProcess) -> None:
    with (
        Client(broker_url=own_redis.url) as client,
        closing_results(make_app(client._settings)) as app,
    ):
        store = ResultStore(app)
        jobs = client.submit_many(f"text {i}" for i in range(100))
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.extend(_read(client, jobs)))
        reader.start()
        _finish(store, jobs[:50])
        own_redis.stop()
        own_redis.start()
        _finish(store, jobs[50:])
        reader.join(30)
        assert read == [job.id for job in jobs]


def test_reading_outlasts_an_outage_that_is_found_between_two_jobs(own_redis: RedisProcess) -> None:
    with (
        Client(broker_url=own_redis.url) as client,
        closing_results(make_app(client._settings)) as app,
    ):
        store = ResultStore(app)
        jobs = client.submit_many(["first", "second"])
        _finish(store, jobs[:1])
        outcomes = _read(client, jobs)
        assert next(outcomes) == jobs[0].id
        own_redis.stop()

        def come_back() -> None:
            own_redis.start()
            _finish(store, jobs[1:])

        timer = threading.Timer(0.5, come_back)
        timer.start()
        assert next(outcomes) == jobs[1].id
        timer.join()


def test_a_reader_receives_only_its_own_outcomes(
    client: Client, store: ResultStore, redis_server: RedisProcess
) -> None:
    own, other_jobs = client.submit("own"), client.submit_many(["other"] * 50)
    reader = threading.Thread(target=lambda: list(client.results([own], timeout=20)))
    reader.start()
    with redis_server.client() as redis:
        channel = f"celery-task-meta-{own.id}"
        deadline = time.monotonic() + 10
        while not redis.pubsub_numsub(channel)[0][1]:
            assert time.monotonic() < deadline
        assert redis.pubsub_numpat() == 0
        assert [name.decode() for name in redis.pubsub_channels()] == [channel]
    _finish(store, other_jobs)
    _finish(store, [own])
    reader.join(10)
    assert not reader.is_alive()
