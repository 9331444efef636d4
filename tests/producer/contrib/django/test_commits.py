"""`submit_on_commit`: a job is sent when the transaction commits, and never before."""

from __future__ import annotations

import logging
from contextlib import suppress
from inspect import signature

import pytest
from django.db import transaction
from django.test import TestCase

from sentq import BrokerUnavailable, Client, Job, TextTooLong
from sentq.contrib.django import submit_on_commit
from tests.producer.contrib.django.conftest import Configure
from tests.support.django_site.models import Feedback
from tests.support.ports import free_port
from tests.support.processes import RedisProcess


def _queued(redis: RedisProcess, queue: str = "sentq") -> int:
    with redis.client() as client:
        return int(client.llen(queue))


class StockFailed(Exception):
    """What the application raises after the row was saved."""


@transaction.atomic
def _save_and_submit(text: str) -> None:
    Feedback.objects.create(body=text)
    submit_on_commit(text)


def test_a_transaction_that_rolls_back_sends_nothing(project: RedisProcess) -> None:
    @transaction.atomic
    def save() -> None:
        Feedback.objects.create(body="a day")
        submit_on_commit("a day")
        raise StockFailed

    with pytest.raises(StockFailed):
        save()
    assert (Feedback.objects.count(), _queued(project)) == (0, 0)


def test_a_savepoint_that_rolls_back_sends_nothing(project: RedisProcess) -> None:
    with transaction.atomic():
        submit_on_commit("kept")
        with suppress(StockFailed), transaction.atomic():
            submit_on_commit("rolled back")
            raise StockFailed
    assert _queued(project) == 1


def test_a_job_is_sent_after_the_commit(project: RedisProcess) -> None:
    with transaction.atomic():
        submit_on_commit(["a day", "a film"], bulk=True)
        assert _queued(project, "sentq.bulk") == 0
    assert _queued(project, "sentq.bulk") == 1


def test_without_a_transaction_a_job_is_sent_at_once(project: RedisProcess) -> None:
    submit_on_commit("a day")
    assert _queued(project) == 1


def test_the_transaction_of_another_database_counts(project: RedisProcess) -> None:
    with transaction.atomic(using="other"):
        submit_on_commit("a day", using="other")
        assert _queued(project) == 0
    assert _queued(project) == 1


def test_the_job_is_passed_on_once_it_is_accepted(project: RedisProcess) -> None:
    jobs: list[Job] = []
    with transaction.atomic():
        submit_on_commit("a day", on_submit=jobs.append)
        assert jobs == []
    (job,) = jobs
    assert job.status() == "queued"


def test_the_options_of_submit_are_options_here() -> None:
    ours, theirs = signature(submit_on_commit).parameters, signature(Client.submit).parameters
    assert theirs.keys() - ours.keys() == {"self"}
    assert ours.keys() - theirs.keys() == {"on_submit", "using", "robust"}


def test_options_are_passed_on(project: RedisProcess) -> None:
    jobs: list[Job] = []
    for _ in range(2):
        submit_on_commit(
            "a day", key="review 1", deadline=60, local_only=True, on_submit=jobs.append
        )
    assert jobs[0].id == jobs[1].id
    assert _queued(project) == 1
    submit_on_commit("a day", delay=600, on_submit=jobs.append)
    assert jobs[2].status() == "scheduled"


def test_a_text_is_checked_at_the_call_so_that_the_transaction_can_be_rolled_back(
    project: RedisProcess,
) -> None:
    with pytest.raises(TextTooLong):
        _save_and_submit("x" * 100_001)
    assert (Feedback.objects.count(), _queued(project)) == (0, 0)


def test_texts_are_those_of_the_call(project: RedisProcess) -> None:
    texts = ["a day"]
    jobs: list[Job] = []
    with transaction.atomic():
        submit_on_commit(texts, key="k", on_submit=jobs.append)
        texts.append("a film")
    submit_on_commit(["a day"], key="k", on_submit=jobs.append)
    assert jobs[0].id == jobs[1].id


@pytest.fixture
def _without_redis(configure: Configure) -> None:
    configure({"BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"})


@pytest.mark.usefixtures("_without_redis")
def test_without_redis_the_error_is_raised_and_the_row_is_saved() -> None:
    with pytest.raises(BrokerUnavailable):
        _save_and_submit("a day")
    assert Feedback.objects.count() == 1


@pytest.mark.usefixtures("_without_redis")
def test_a_robust_submission_logs_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), transaction.atomic():
        submit_on_commit("CANARY", robust=True)
    assert "on_commit" in caplog.text
    assert "CANARY" not in caplog.text


@pytest.mark.usefixtures("project")
class TestOnCommitInDjangoTestCases(TestCase):
    """In Django's `TestCase` no transaction commits, so callbacks are captured."""

    databases = frozenset({"default", "other"})

    def test_nothing_is_sent_without_capture_on_commit_callbacks(self) -> None:
        jobs: list[Job] = []
        submit_on_commit("a day", on_submit=jobs.append)
        assert jobs == []

    def test_captured_callbacks_send_the_job(self) -> None:
        jobs: list[Job] = []
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            submit_on_commit("a day", on_submit=jobs.append)
        assert len(callbacks) == 1
        assert [job.status() for job in jobs] == ["queued"]
