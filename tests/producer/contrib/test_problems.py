"""Errors of sentq as problem details: a type for each class, and nothing private in a response."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Final

import pytest

from sentq import errors
from sentq.contrib.problems import PROBLEM_TYPES, log_problem, problem_of

PAGE: Final = Path(__file__).parents[3] / "docs" / "problems.md"

ID: Final = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"


def test_each_class_of_error_has_a_type_of_its_own() -> None:
    assert {each.__name__ for each in PROBLEM_TYPES} == set(errors.__all__)
    assert len({_any_of(each) for each in PROBLEM_TYPES}) == len(PROBLEM_TYPES)


def _any_of(kind: type[errors.SentqError]) -> str:
    return problem_of(_raised(kind)).type


def _raised(kind: type[errors.SentqError]) -> errors.SentqError:
    if issubclass(kind, errors.JobFailed):
        return kind("host 10.0.0.1", ID, "ValueError")
    if issubclass(kind, (errors.JobError, errors.BatchError)):
        return kind("host 10.0.0.1", ID)
    return kind("host 10.0.0.1")


def test_the_page_has_status_type_and_title_of_each_class() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| `(\w+)` \| (.+?) \|", PAGE.read_text(), re.M)
    expected = []
    for kind in PROBLEM_TYPES:
        problem = problem_of(_raised(kind))
        name = problem.type.removeprefix("urn:sentq:problem:")
        expected.append((name, str(int(problem.status)), kind.__name__, problem.title))
    assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize(
    ("error", "status", "name", "retry_after"),
    [
        (errors.TextTooLong("text 0: 3 characters"), 422, "text-too-long", None),
        (errors.KeyConflict("the key"), 422, "key-conflict", None),
        (errors.QueueFull("full", retry_after_s=2.2), 503, "queue-full", "3"),
        (errors.RedisFull("full", retry_after_s=0.01), 503, "redis-full", "1"),
        (errors.BrokerUnavailable("redis:6379"), 503, "broker-unavailable", "10"),
        (errors.ResultsUnavailable("redis:6379"), 503, "results-unavailable", "10"),
        (errors.WaitTimeout("waits", ID, status="queued"), 504, "wait-timeout", None),
        (errors.UnknownJob("no such job", ID), 404, "unknown-job", None),
        (errors.JobExpired("expired", ID), 410, "job-expired", None),
        (errors.JobCancelled("cancelled", ID), 409, "job-cancelled", None),
        (errors.UnknownBatch("no such batch", ID), 404, "unknown-batch", None),
        (errors.BatchTimeout("waits", ID), 504, "batch-timeout", None),
        (errors.BatchClosed("closed"), 409, "batch-closed", None),
        (errors.SettingsError("broker_url"), 500, "settings-error", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_status_and_retry_after_say_what_a_client_may_do(
    error: errors.SentqError, status: int, name: str, retry_after: str | None
) -> None:
    problem = problem_of(error)
    document = json.loads(problem.body)
    assert (problem.status, document["status"]) == (status, status)
    assert document["type"] == f"urn:sentq:problem:{name}"
    assert problem.headers.get("Retry-After") == retry_after


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        ("TooManyTokens", 422, "too-many-tokens"),
        ("ScheduleFull", 503, "schedule-full"),
        ("WorkerLost", 502, "worker-lost"),
        ("LinkRefused", 500, "link-refused"),
        ("ValueError", 502, "job-failed"),
        # Not what a worker stores of a job: such a class says nothing about it.
        ("SettingsError", 502, "job-failed"),
    ],
)
def test_a_failed_job_has_the_type_of_the_error_that_its_worker_stored(
    code: str, status: int, name: str
) -> None:
    problem = problem_of(errors.JobFailed("job failed", ID, code))
    assert (problem.status, problem.type) == (status, f"urn:sentq:problem:{name}")
    assert problem.document["job_id"] == ID


def test_only_errors_of_the_caller_show_their_message() -> None:
    for kind in PROBLEM_TYPES:
        problem = problem_of(_raised(kind))
        assert ("10.0.0.1" in problem.detail) == (problem.status < 500), kind


def test_a_wait_that_timed_out_names_the_job_to_ask_for() -> None:
    problem = problem_of(errors.WaitTimeout("waits", ID, status="running", jobs_ahead=3))
    assert (problem.document["job_id"], problem.document["job_status"]) == (ID, "running")


def test_a_problem_names_the_batch_whose_jobs_were_being_sent() -> None:
    unknown = errors.UnknownBatch("no such batch", "b1")
    full = errors.QueueFull("full")
    full.batch_id = "b2"
    assert [problem_of(each).document["batch_id"] for each in (unknown, full)] == ["b1", "b2"]
    assert "batch_id" not in problem_of(errors.QueueFull("full")).document


def test_an_error_of_an_unknown_class_has_the_type_of_its_base() -> None:
    class ShopQueueFull(errors.QueueFull):
        """A class of an application."""

    assert problem_of(ShopQueueFull("full")).type == "urn:sentq:problem:queue-full"


def test_the_log_has_the_message_that_the_response_hides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for error in (errors.BrokerUnavailable("redis:6379 refused"), errors.EmptyJob("no text")):
            log_problem(error, problem_of(error))
    assert [record.getMessage() for record in caplog.records] == [
        "BrokerUnavailable: redis:6379 refused"
    ]
