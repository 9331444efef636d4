"""A job as a stream of events."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.testing import Kit
from tests.support.gateway.responses import problem_in
from tests.support.processes import eventually

pytestmark = pytest.mark.unit


@pytest.fixture
def gateway_settings() -> GatewaySettings:
    return GatewaySettings.load(heartbeat_s=0.05)


def _events(text: str) -> list[tuple[str, Any]]:
    """Return the names and the data of all events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def _followed(http: TestClient, closing: Closing, path: str, act: Callable[[], object]) -> str:
    """Follow a job in a thread, do something as soon as nothing is new; return the stream."""
    streams: list[str] = []
    thread = threading.Thread(target=lambda: streams.append(http.get(path).text))
    thread.start()
    eventually(lambda: closing.waiting)
    act()
    thread.join(20)
    assert streams, "the stream has not ended"
    return streams[0]


def test_each_change_of_a_job_is_an_event_and_its_end_is_the_last_one(
    http: TestClient, kit: Kit, closing: Closing
) -> None:
    with kit.paused():
        path = http.post("/v1/jobs", json={"texts": "I love it"}).headers["location"]
        response = _followed(http, closing, f"{path}/events", kit.drain)
    *before, (name, job) = _events(response)
    assert [each["status"] for _, each in before] == ["queued"]
    assert (name, job["status"]) == ("end", "done")
    assert job == http.get(path).json()


def test_a_stream_in_which_nothing_changes_has_heartbeats(
    http: TestClient, kit: Kit, closing: Closing
) -> None:
    def wait_and_cancel() -> None:
        threading.Event().wait(0.4)
        assert http.delete(path).status_code == 200

    with kit.paused():
        path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
        text = _followed(http, closing, f"{path}/events", wait_and_cancel)
    assert text.count(": nothing new\n\n") >= 2
    assert [(name, job["status"]) for name, job in _events(text)] == [
        ("status", "queued"),
        ("end", "cancelled"),
    ]


def test_a_job_that_has_ended_is_one_event(http: TestClient) -> None:
    path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
    response = http.get(f"{path}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert [name for name, _ in _events(response.text)] == ["end"]


def test_an_unknown_job_is_a_problem_and_no_stream(http: TestClient) -> None:
    response = http.get(f"/v1/jobs/{uuid.uuid4()}/events")
    assert problem_in(response) == (404, "unknown-job")


def test_a_stream_ends_when_the_gateway_ends(http: TestClient, kit: Kit, closing: Closing) -> None:
    with kit.paused():
        path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
        closing.begin()
        assert [name for name, _ in _events(http.get(f"{path}/events").text)] == ["status"]


def test_a_stream_survives_an_outage_of_redis(http: TestClient, kit: Kit, closing: Closing) -> None:
    def break_and_mend() -> None:
        with kit.broker_down():
            threading.Event().wait(0.3)
        kit.drain()

    with kit.paused():
        path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
        text = _followed(http, closing, f"{path}/events", break_and_mend)
    assert [name for name, _ in _events(text)] == ["status", "end"]
