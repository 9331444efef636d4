"""Single jobs over HTTP: scored while the client waits, or accepted and read later."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from sentq.gateway.closing import Closing
from sentq.testing import Kit
from tests.support.gateway.responses import problem_in

pytestmark = pytest.mark.unit

TEXTS: Final = ["What a lovely day!", "I hate it."]

UNKNOWN: Final = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"


# --- Scoring ---------------------------------------------------------------------------------


def test_texts_are_scored_while_the_client_waits(http: TestClient) -> None:
    response = http.post("/v1/score", json={"texts": TEXTS})
    assert response.status_code == 200
    outcomes = response.json()["outcomes"]
    assert [each["label"] for each in outcomes] == ["positive", "negative"]
    job = http.get(response.headers["location"]).json()
    assert (job["status"], job["outcome"]) == ("done", response.json())


def test_one_text_may_stand_without_a_list(http: TestClient) -> None:
    response = http.post("/v1/score", json={"texts": TEXTS[0]})
    assert [each["label"] for each in response.json()["outcomes"]] == ["positive"]


def test_a_wait_that_ends_without_an_outcome_leaves_a_job_to_ask_for(
    http: TestClient, kit: Kit
) -> None:
    with kit.paused(), kit.skip_waits():
        response = http.post("/v1/score", json={"texts": "x"}, headers={"Prefer": "wait=3"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=3"
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["status"] == "queued"
    assert http.get(response.headers["location"]).json()["status"] == "done"


@pytest.mark.parametrize(
    ("prefer", "status", "applied"),
    [
        ("respond-async", 202, "respond-async"),
        ("wait=0", 202, "wait=0"),
        ("handling=lenient, WAIT=5", 200, "wait=5"),
        ("wait=100000", 200, "wait=60"),
        ("respond-async, wait=5", 200, "wait=5"),
        ("wait=soon", 200, None),
        ("", 200, None),
    ],
)
def test_a_preference_says_how_long_a_request_waits(
    http: TestClient, prefer: str, status: int, applied: str | None
) -> None:
    response = http.post("/v1/score", json={"texts": "x"}, headers={"Prefer": prefer})
    assert response.status_code == status
    assert response.headers.get("preference-applied") == applied


def test_a_request_that_waits_is_answered_when_the_gateway_ends(
    http: TestClient, kit: Kit, closing: Closing
) -> None:
    closing.begin()
    with kit.paused():
        response = http.post("/v1/score", json={"texts": "x"}, headers={"Prefer": "wait=60"})
    assert response.status_code == 202
    assert http.get("/readyz").status_code == 503
    assert http.get("/livez").status_code == 200


def test_options_of_a_job_reach_it(http: TestClient, kit: Kit) -> None:
    body = {"texts": ["x"], "deadline_s": 30, "local_only": True, "bulk": True, "model": "large"}
    assert http.post("/v1/jobs", json=body | {"detail": "paragraphs"}).status_code == 202
    kit.assert_submitted(
        ["x"],
        deadline=30,
        local_only=True,
        detail="paragraphs",
        bulk=True,
        model="large",
        jobs=1,
    )
    assert http.post("/v1/jobs", json=body | {"model": "two words"}).status_code == 422


def test_texts_with_detail_have_parts(http: TestClient) -> None:
    body = {"texts": "Good food. Bad service!", "detail": "sentences"}
    (found,) = http.post("/v1/score", json=body).json()["outcomes"]
    places = [(part["start"], part["end"], part["label"]) for part in found["parts"]]
    assert places == [(0, 10, "positive"), (11, 23, "negative")]
    assert found["mixed"] is True
    many = http.post("/v1/score", json={"texts": ["x"] * 65, "detail": "sentences"})
    assert (many.status_code, many.json()["type"].rpartition(":")[2]) == (422, "too-many-texts")


# --- Jobs ------------------------------------------------------------------------------------


def test_a_job_is_accepted_and_read_later(http: TestClient, kit: Kit) -> None:
    with kit.paused():
        sent = http.post("/v1/jobs", json={"texts": TEXTS})
        assert sent.status_code == 202
        assert sent.headers["location"] == f"/v1/jobs/{sent.json()['id']}"
        waiting = http.get(sent.headers["location"])
        assert waiting.json() == {"id": sent.json()["id"], "status": "queued"}
        assert int(waiting.headers["retry-after"]) >= 1
    done = http.get(sent.headers["location"])
    assert done.json()["status"] == "done"
    assert "retry-after" not in done.headers


def test_a_scheduled_job_says_when_it_is_due(http: TestClient) -> None:
    sent = http.post("/v1/jobs", json={"texts": "x", "delay_s": 3600})
    assert sent.json()["status"] == "scheduled"
    document = http.get(sent.headers["location"]).json()
    assert document["status"] == "scheduled"
    assert "due_at" in document


def test_a_job_is_cancelled_once_and_stays_so(http: TestClient, kit: Kit) -> None:
    with kit.paused():
        path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
        for _ in range(2):
            response = http.delete(path)
            assert response.status_code == 200
            assert response.json()["status"] == "cancelled"
            assert response.json()["problem"]["type"] == "urn:sentq:problem:job-cancelled"
            assert None not in response.json()["problem"].values()
    assert http.get(path).json()["status"] == "cancelled"


def test_a_job_that_has_ended_cannot_be_cancelled(http: TestClient) -> None:
    path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
    assert problem_in(http.delete(path)) == (409, "job-not-cancelled")


def test_a_failed_job_has_a_problem(http: TestClient, kit: Kit) -> None:
    kit.fail_next("TooManyTokens")
    document = http.get(http.post("/v1/jobs", json={"texts": "x"}).headers["location"]).json()
    assert document["status"] == "failed"
    assert document["problem"]["type"] == "urn:sentq:problem:too-many-tokens"
    kit.fail_next("ScoringFailed")
    assert problem_in(http.post("/v1/score", json={"texts": "x"})) == (502, "scoring-failed")


def test_an_unknown_job_is_not_found_and_an_expired_one_is_gone(http: TestClient, kit: Kit) -> None:
    assert problem_in(http.get(f"/v1/jobs/{uuid.uuid4()}")) == (404, "unknown-job")
    assert problem_in(http.get("/v1/jobs/no-id")) == (404, "unknown-job")
    assert problem_in(http.get(f"/v1/jobs/{UNKNOWN}")) == (410, "job-expired")
    path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
    kit.clock.advance(kit.settings.result_ttl_s + 1)
    for method in ("GET", "DELETE"):
        assert problem_in(http.request(method, path)) == (410, "job-expired")


# --- Bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "/texts"),
        ({"texts": [1]}, "/texts/0"),
        ({"texts": "x", "deadline_s": -1}, "/deadline_s"),
        ({"texts": "x", "deadline_s": "1"}, "/deadline_s"),
        ({"texts": "x", "local_only": 1}, "/local_only"),
        ({"texts": "x", "detail": "words"}, "/detail"),
        ({"texts": "x", "SECRET": 1}, ""),
        ([], ""),
        ("SECRET", ""),
    ],
    ids=str,
)
def test_a_body_that_does_not_fit_is_refused_and_not_quoted(
    http: TestClient, body: object, where: str
) -> None:
    response = http.post("/v1/jobs", json=body)
    assert problem_in(response) == (422, "invalid-request")
    assert where in {each["where"] for each in response.json()["errors"]}
    assert "SECRET" not in response.text


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([], "empty-job"),
        (["x"] * 257, "too-many-texts"),
        ([1] * 257, "too-many-texts"),
        (["x" * 1001], "text-too-long"),
    ],
    ids=["none", "many", "many wrong", "long"],
)
def test_limits_of_the_contract_have_types_of_their_own(
    http: TestClient, texts: list[object], kind: str
) -> None:
    assert problem_in(http.post("/v1/jobs", json={"texts": texts})) == (422, kind)


def test_a_body_with_many_unknown_members_is_refused_before_each_is_listed(
    http: TestClient,
) -> None:
    response = http.post("/v1/jobs", json={f"SECRET{number}": 1 for number in range(101)})
    assert problem_in(response) == (422, "invalid-request")
    assert "SECRET" not in response.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"texts": NaN}', b'{"texts":"\\ud800"}'])
def test_a_body_that_is_not_json_is_refused(http: TestClient, content: bytes) -> None:
    response = http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert problem_in(response) == (400, "malformed-request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_refused(http: TestClient, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = http.post("/v1/jobs", content=b'{"texts": "x"}', headers=headers)
    assert problem_in(response) == (415, "unsupported-body")


def _gzipped(http: TestClient, content: bytes, encoding: str = "gzip") -> Any:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return http.post("/v1/score", content=content, headers=headers)


def test_a_body_may_be_compressed(http: TestClient) -> None:
    body = json.dumps({"texts": TEXTS}).encode()
    members = gzip.compress(body[:10]) + gzip.compress(body[10:])
    for content in (gzip.compress(body), members):
        assert len(_gzipped(http, content).json()["outcomes"]) == 2


def test_a_compressed_body_is_bounded_by_what_it_decompresses_to(http: TestClient) -> None:
    bomb = gzip.compress(b'{"texts": "' + b"x" * 20_000_000 + b'"}')
    assert len(bomb) < 64 * 1024
    response = _gzipped(http, bomb)
    assert problem_in(response) == (413, "body-too-large")


def test_a_body_that_is_not_gzip_is_refused(http: TestClient) -> None:
    whole = gzip.compress(b'{"texts": "x"}')
    for content in (b"{}", whole[:-4], whole + b"more"):
        assert problem_in(_gzipped(http, content)) == (400, "malformed-request")
    assert problem_in(_gzipped(http, whole, "br")) == (415, "unsupported-body")


def test_a_large_response_is_compressed(http: TestClient) -> None:
    response = http.post("/v1/score", json={"texts": ["x"] * 100})
    assert response.headers["content-encoding"] == "gzip"
    assert len(response.json()["outcomes"]) == 100
    plain = http.post(
        "/v1/score", json={"texts": ["x"] * 100}, headers={"Accept-Encoding": "identity"}
    )
    assert "content-encoding" not in plain.headers


# --- Faults ----------------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_back(http: TestClient, kit: Kit) -> None:
    with kit.queue_full():
        response = http.post("/v1/jobs", json={"texts": "x"})
    assert problem_in(response) == (503, "queue-full")
    assert int(response.headers["retry-after"]) >= 1


def test_an_outage_of_redis_is_a_problem_for_every_operation(http: TestClient, kit: Kit) -> None:
    path = http.post("/v1/jobs", json={"texts": "x"}).headers["location"]
    with kit.broker_down():
        for response in (
            http.post("/v1/jobs", json={"texts": "x"}),
            http.get(path),
            http.get("/v1/status"),
        ):
            assert problem_in(response) == (503, "results-unavailable")
            assert int(response.headers["retry-after"]) >= 1
        assert http.get("/readyz").status_code == 503
        assert http.get("/livez").status_code == 200
    assert http.get("/readyz").status_code == 200


def test_the_status_has_backlog_and_pace(http: TestClient, kit: Kit) -> None:
    with kit.paused():
        http.post("/v1/jobs", json={"texts": TEXTS})
        document = http.get("/v1/status").json()
    assert (document["waiting_jobs"], document["live_workers"]) == (1, 1)
    assert [each["name"] for each in document["queues"]] == ["sentq", "sentq.bulk"]


def test_other_pages_and_methods_are_problems(http: TestClient) -> None:
    assert problem_in(http.get("/v2/jobs")) == (404, "page-not-found")
    response = http.get("/v1/score")
    assert problem_in(response) == (405, "wrong-method")
    assert response.headers["allow"] == "POST"
    for path in ("/v1/jobs/x", "/v1/batches/x"):
        assert http.options(path).headers["allow"] == "DELETE, GET"


def test_each_response_has_the_id_of_its_request(http: TestClient) -> None:
    ids = {http.get("/livez").headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    given = http.get("/livez", headers={"X-Request-ID": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    other = http.get("/nothing", headers={"X-Request-ID": "a b"})
    assert other.headers["x-request-id"] not in ("a b", "")
