"""Tests of the API. They need no Redis; with SENTQ_BROKER_URL they use that Redis and its worker.

$ pytest
"""

import os
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from reviews_api import app
from sentq.testing import Kit, inline, manual

needs_kit = pytest.mark.skipif(
    "SENTQ_BROKER_URL" in os.environ, reason="a real service fails when it likes"
)


@pytest.fixture
def service() -> Iterator[Kit | None]:
    """The test kit, or None for a real service."""
    if "SENTQ_BROKER_URL" in os.environ:
        yield None
        return
    with inline() as kit:
        yield kit


@pytest.fixture
def http(service: Kit | None) -> Iterator[TestClient]:
    """A client of the API."""
    with TestClient(app) as http:
        yield http


def test_a_review_is_scored_while_the_caller_waits(http: TestClient) -> None:
    for text, label in {"I love it.": "positive", "It broke. I hate it.": "negative"}.items():
        response = http.post("/mood", json={"text": text})
        assert response.status_code == 200
        assert response.json()["label"] == label


def test_a_review_without_words_is_refused(http: TestClient) -> None:
    assert http.post("/mood", json={"text": " "}).status_code == 422


def test_reviews_are_accepted_and_read_later(http: TestClient) -> None:
    accepted = http.post("/reviews", json=["I love it.", "It broke. I hate it."])
    assert accepted.status_code == 202
    deadline = time.monotonic() + 20
    while (response := http.get(accepted.headers["Location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [each["label"] for each in response.json()["outcomes"]] == ["positive", "negative"]


def test_a_job_that_was_never_sent_is_not_found(http: TestClient) -> None:
    response = http.get("/reviews/never-sent")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:sentq:problem:unknown-job"


def test_a_review_that_is_too_long_is_a_problem_of_the_caller(http: TestClient) -> None:
    response = http.post("/mood", json={"text": "x" * 100_001})
    assert response.status_code == 422
    assert response.json()["detail"] == "text 0: 100,001 characters; the limit is 100,000 a text"


@needs_kit
def test_a_full_queue_says_when_to_come_back(http: TestClient, service: Kit) -> None:
    with service.queue_full():
        response = http.post("/reviews", json=["I love it."])
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1


@needs_kit
def test_without_redis_no_review_is_accepted(http: TestClient, service: Kit) -> None:
    with service.broker_down():
        response = http.post("/reviews", json=["I love it."])
    assert response.json()["type"] == "urn:sentq:problem:broker-unavailable"


def test_reviews_wait_until_a_worker_takes_them() -> None:
    with manual() as kit, TestClient(app) as http:
        accepted = http.post("/reviews", json=["I love it."]).json()
        path = f"/reviews/{accepted['job_id']}"
        assert http.get(path).json() == accepted | {"status": "queued"}
        kit.drain()
        assert http.get(path).json()["outcomes"][0]["label"] == "positive"
