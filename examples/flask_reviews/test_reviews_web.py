"""Tests of the application. They need no Redis; with SENTQ_BROKER_URL they use that Redis and its
worker.

    $ pytest
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reviews_web import create_app
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
def browser(service: Kit | None) -> FlaskClient:
    """A client of the application."""
    return create_app(TESTING=True).test_client()


def body_of(response: TestResponse) -> dict[str, Any]:
    """Return the JSON of a response."""
    body: dict[str, Any] | None = response.get_json()
    assert body is not None
    return body


def test_a_review_is_scored_while_the_caller_waits(browser: FlaskClient) -> None:
    for text, label in {"I love it.": "positive", "It broke. I hate it.": "negative"}.items():
        response = browser.post("/mood", data=text)
        assert response.status_code == 200
        assert body_of(response)["label"] == label


def test_a_review_without_words_is_refused(browser: FlaskClient) -> None:
    assert browser.post("/mood", data=" ").status_code == 422


def test_reviews_are_accepted_and_read_later(browser: FlaskClient) -> None:
    accepted = browser.post("/reviews", json=["I love it.", "It broke. I hate it."])
    assert accepted.status_code == 202
    deadline = time.monotonic() + 20
    while (response := browser.get(accepted.headers["Location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [each["label"] for each in body_of(response)["outcomes"]] == ["positive", "negative"]


def test_a_job_that_was_never_sent_is_not_found(browser: FlaskClient) -> None:
    response = browser.get("/reviews/never-sent")
    assert response.status_code == 404
    assert body_of(response)["type"] == "urn:sentq:problem:unknown-job"


@needs_kit
def test_a_full_queue_says_when_to_come_back(browser: FlaskClient, service: Kit) -> None:
    with service.queue_full():
        response = browser.post("/reviews", json=["I love it."])
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1


def test_reviews_wait_until_a_worker_takes_them() -> None:
    browser = create_app(TESTING=True).test_client()
    with manual() as kit:
        path = browser.post("/reviews", json=["I love it."]).headers["Location"]
        assert body_of(browser.get(path))["status"] == "queued"
        kit.drain()
        assert body_of(browser.get(path))["outcomes"][0]["label"] == "positive"
