"""Jobs that Celery finishes: in order, for a limited time, and not while Redis has no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sentq import Settings
from sentq.connection.app import make_app
from sentq_worker.broker.results import ResultStore
from sentq_worker.jobs.ack_handles import CeleryHandback, PreparedResults
from sentq_worker.jobs.completion import Completion
from sentq_worker.jobs.events import TaskEvents
from sentq_worker.jobs.in_flight import DuplicateDeliveries, InFlightJob
from sentq_worker.monitoring.job_counts import JobCounts
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess, eventually

#: Longer than any test.
LONG_S = 600.0

RESULT = ValueError("refused")


@pytest.fixture
def completion(settings: Settings) -> Iterator[Completion]:
    with closing_results(make_app(settings)) as app:
        yield _completion(app)


def _completion(app: Any) -> Completion:
    return Completion(
        ResultStore(app),
        TaskEvents(),
        DuplicateDeliveries(),
        lambda _, result: result,
        JobCounts(),
    )


class CelerysJobs:
    """Makes jobs that Celery finishes, and records with which results it does."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, object]] = []
        self._prepared: PreparedResults = {}

    def job(self, name: str, *, connection: int = 0) -> InFlightJob:
        """Return a job."""
        return self._job(name, partial(self._finish, name), connection)

    def job_of_a_lost_connection(self, name: str) -> InFlightJob:
        """Return a job over which Celery finds the connection lost."""
        return self._job(name, _lose_connection, 0)

    def _finish(self, name: str) -> None:
        self.finished.append((name, self._prepared[name]))

    def _job(self, name: str, run: Callable[[], object], connection: int) -> InFlightJob:
        handback = CeleryHandback(
            name,
            tag=name,
            connection=connection,
            is_ended=lambda: False,
            run=run,
            prepared=self._prepared,
        )
        return InFlightJob(name, ["a text"], {}, {}, handback)


def _lose_connection() -> None:
    raise ConnectionResetError


def test_celery_finishes_jobs_in_order_with_their_results(completion: Completion) -> None:
    jobs, first, second = CelerysJobs(), ValueError("a"), ValueError("b")
    completion.complete([(jobs.job("a"), first), (jobs.job("b"), second)])
    assert jobs.finished == []
    assert completion.finish(within_s=LONG_S)
    assert jobs.finished == [("a", first), ("b", second)]


def test_celery_finishes_one_job_if_there_is_no_time_for_more(completion: Completion) -> None:
    jobs = CelerysJobs()
    completion.complete([(jobs.job(name), RESULT) for name in "ab"])
    assert not completion.finish(within_s=0)
    assert (jobs.finished, completion.handed_back) == ([("a", RESULT)], 1)
    assert completion.finish(within_s=0)
    assert (jobs.finished[1:], completion.handed_back) == ([("b", RESULT)], 0)


def test_jobs_that_another_connection_delivered_are_dropped(completion: Completion) -> None:
    jobs = CelerysJobs()
    completion.complete([(jobs.job("a"), RESULT), (jobs.job("b", connection=1), RESULT)])
    assert completion.finish(within_s=LONG_S)
    assert jobs.finished == [("a", RESULT)]


def test_a_connection_that_is_lost_over_one_job_leaves_the_others(completion: Completion) -> None:
    jobs = CelerysJobs()
    completion.complete([(jobs.job_of_a_lost_connection("a"), RESULT), (jobs.job("b"), RESULT)])
    with pytest.raises(ConnectionResetError):
        completion.finish(within_s=LONG_S)
    assert completion.handed_back == 1
    assert completion.finish(within_s=LONG_S)
    assert jobs.finished == [("b", RESULT)]


def test_celery_finishes_no_job_while_redis_has_no_memory(own_redis: RedisProcess) -> None:
    jobs = CelerysJobs()
    with closing_results(make_app(Settings(broker_url=own_redis.url))) as app:
        completion = _completion(app)
        completion.complete([(jobs.job("a"), RESULT)])
        with own_redis.client() as redis:
            redis.config_set("maxmemory", 1)
            assert not completion.finish(within_s=LONG_S)
            assert completion.retry_in_s > 0
            assert jobs.finished == []
            redis.config_set("maxmemory", 0)
        eventually(lambda: completion.finish(within_s=LONG_S), what="the pause ends")
        assert jobs.finished == [("a", RESULT)]
