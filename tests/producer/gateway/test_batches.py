"""Batches over HTTP: uploads in several forms, continued and refused ones, results in order."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
import redis
from fastapi.testclient import TestClient

from sentq import Limits, Settings
from sentq.contract import check_job, message_bytes
from sentq.gateway.app import make_gateway
from sentq.gateway.batches.records import JobRecord
from sentq.gateway.batches.upload import JobCutter
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from tests.support.gateway.keys import with_new_key
from tests.support.gateway.responses import problem_in

LINES: Final = {"Content-Type": "application/x-ndjson"}
CSV: Final = {"Content-Type": "text/csv"}

TEXTS: Final = [f"text {number}" for number in range(300)]


def _json_lines(texts: Sequence[object]) -> bytes:
    return b"".join(json.dumps(text).encode() + b"\n" for text in texts)


def _upload(http: TestClient, content: Any, query: str = "", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(f"/v1/batches{query}", content=content, headers=LINES | named)


def _results(http: TestClient, path: str, query: str = "") -> list[Any]:
    response = http.get(f"{path}/results{query}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


# --- On the test kit -------------------------------------------------------------------------


def test_an_unknown_batch_is_not_found_and_an_old_one_is_gone(http: TestClient) -> None:
    for path in (f"/v1/batches/{uuid.uuid4()}", "/v1/batches/no-id"):
        for response in (http.get(path), http.get(f"{path}/results"), http.delete(path)):
            assert problem_in(response) == (404, "unknown-batch")
    old = "/v1/batches/0192f0c1-7d3c-7aaa-8bbb-0123456789ab"
    assert problem_in(http.get(old)) == (410, "batch-expired")


# --- On Redis --------------------------------------------------------------------------------


@pytest.fixture
def idle(settings: Settings) -> Iterator[TestClient]:
    """A gateway on a Redis without a worker."""
    app = make_gateway(settings, GatewaySettings.load(max_body_bytes=64 * 1024), Closing())
    with TestClient(app, base_url="http://localhost:8200") as http:
        yield http


def _sent(server: redis.Redis) -> list[str]:
    """Return the texts that wait in the bulk queue, in the order in which they were sent."""
    messages: Any = server.lrange("sentq.bulk", 0, -1)
    bodies = [json.loads(raw) for raw in reversed(messages)]
    return [text for body in bodies for text in json.loads(_decoded(body))[0][0]]


def _decoded(message: dict[str, Any]) -> str:
    return base64.b64decode(message["body"]).decode()


def test_lines_of_an_upload_become_jobs_of_one_batch(idle: TestClient, server: redis.Redis) -> None:
    response = _upload(idle, _json_lines(TEXTS))
    assert response.status_code == 202
    document = response.json()
    assert response.headers["location"] == f"/v1/batches/{document['id']}"
    assert (document["texts"], document["jobs"]["total"]) == (300, 5)
    assert (document["is_closed"], document["is_complete"]) == (True, False)
    assert _sent(server) == TEXTS
    assert idle.get(response.headers["location"]).json() == document


@pytest.mark.parametrize(
    ("content", "query", "headers", "texts"),
    [
        (b'"a"\n\n  \r\n"b"\r\n"c"', "", LINES, ["a", "b", "c"]),
        (b'{"text": "a", "id": 1}\n"b"\n', "", {"Content-Type": "application/jsonl"}, ["a", "b"]),
        (b'\xef\xbb\xbf{"body": "a"}', "?field=body", LINES, ["a"]),
        (b'id,text\n1,a\n2,"b\nc ""d"""\r\n\n3,e', "", CSV, ["a", 'b\nc "d"', "e"]),
        (b'\xef\xbb\xbfbody\r\n"a, b"\r\n', "?field=body", CSV, ["a, b"]),
        ("text\nä\u2028b\n".encode(), "", CSV, ["ä\u2028b"]),
    ],
    ids=["lines", "objects", "another member", "csv", "another column", "unicode"],
)
def test_each_form_of_a_line_is_read(
    idle: TestClient,
    server: redis.Redis,
    content: bytes,
    query: str,
    headers: dict[str, str],
    texts: list[str],
) -> None:
    for size in (1, 7, 10_000):
        server.delete("sentq.bulk")
        parts = (content[at : at + size] for at in range(0, len(content), size))
        response = idle.post(f"/v1/batches{query}", content=parts, headers=headers)
        assert response.status_code == 202, response.text
        assert _sent(server) == texts


def test_an_upload_may_be_compressed(idle: TestClient, server: redis.Redis) -> None:
    response = _upload(idle, gzip.compress(_json_lines(TEXTS)), Content_Encoding="gzip")
    assert response.json()["texts"] == len(TEXTS)
    assert _sent(server) == TEXTS


@pytest.mark.parametrize(
    ("content", "headers", "line"),
    [
        (b'"a"\n"b"\n{"x": 1}\n', LINES, 3),
        (b'"a"\nPRIVATE\n', LINES, 2),
        (b'"a"\n{"text": 7}', LINES, 2),
        (b'"a"\n"\\ud800"', LINES, 2),
        (b'"a"\n"\xff"', LINES, 2),
        (b'"' + b"x" * 70_000 + b'"', LINES, 1),
        (b"x" * 70_000, LINES, 1),
        (b'"a"\n' + b"\n" * 70_000 + b'"b"', LINES, 65_538),
        (b"text\na\nb,c\n", CSV, 3),
        (b'text\n"a\nb\nPRIVATE', CSV, 2),
        (b'text\na"b\n', CSV, 2),
        (b"text\n\xff\n", CSV, 2),
        (b'text\n"' + b"x\n" * 40_000 + b'"', CSV, 2),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_not_quoted(
    idle: TestClient, content: bytes, headers: dict[str, str], line: int
) -> None:
    response = idle.post("/v1/batches", content=content, headers=headers)
    assert problem_in(response) == (422, "invalid-line")
    assert response.json()["line"] == line
    assert "PRIVATE" not in response.text


def test_an_upload_without_a_text_or_a_column_is_refused(idle: TestClient) -> None:
    assert problem_in(_upload(idle, b"\n \n")) == (422, "empty-job")
    assert problem_in(_upload(idle, b"")) == (422, "empty-job")
    for content in (b"", b"\n", b"PRIVATE,a\nx,y\n"):
        response = idle.post("/v1/batches", content=content, headers=CSV)
        assert problem_in(response) == (422, "invalid-request")
        assert "PRIVATE" not in response.text
    response = idle.post("/v1/batches", content=b'"a"', headers={"Content-Type": "text/plain"})
    assert problem_in(response) == (415, "unsupported-body")


def test_an_upload_that_cannot_be_continued_is_cancelled(
    idle: TestClient, server: redis.Redis
) -> None:
    content = _json_lines([*TEXTS, 7])
    assert problem_in(_upload(idle, content)) == (422, "invalid-line")
    (key,) = [name for name in server.keys("sentq-batch-*") if b":" not in name]
    counts: Any = server.hgetall(key)
    assert counts[b"total"] == counts[b"cancelled"] == b"4"


# --- Continued uploads -----------------------------------------------------------------------


def test_an_upload_with_a_key_goes_on_where_it_was_cut_off(
    idle: TestClient, server: redis.Redis
) -> None:
    texts = [f"text {number}" for number in range(20_000)]
    wrong = _upload(idle, _json_lines([*texts[:9000], 7, *texts[9000:]]), Idempotency_Key="one")
    assert problem_in(wrong) == (422, "invalid-line")
    batch_id = wrong.json()["batch_id"]
    assert _sent(server) == texts[: 9000 // 64 * 64]
    assert idle.get(f"/v1/batches/{batch_id}").json()["is_closed"] is False

    for _ in range(2):
        response = _upload(idle, _json_lines(texts), Idempotency_Key="one")
        assert response.status_code == 202
        assert (response.json()["id"], response.json()["texts"]) == (batch_id, 20_000)
        assert _sent(server) == texts


@pytest.mark.parametrize(
    "texts",
    [TEXTS[:-1], [*TEXTS[:-1], "other"], ["other", *TEXTS[1:]]],
    ids=["fewer", "another end", "another beginning"],
)
def test_an_upload_with_the_same_key_and_other_lines_is_refused(
    idle: TestClient, server: redis.Redis, texts: list[str]
) -> None:
    assert _upload(idle, _json_lines(TEXTS), Idempotency_Key="one").status_code == 202
    response = _upload(idle, _json_lines(texts), Idempotency_Key="one")
    assert problem_in(response) == (422, "key-conflict")
    response = _upload(idle, _json_lines(TEXTS), "?texts_per_job=9", Idempotency_Key="one")
    assert problem_in(response) == (422, "key-conflict")
    assert _sent(server) == TEXTS


def test_more_lines_are_refused_once_the_upload_has_ended(idle: TestClient) -> None:
    assert _upload(idle, _json_lines(TEXTS[:64]), Idempotency_Key="one").status_code == 202
    response = _upload(idle, _json_lines(TEXTS), Idempotency_Key="one")
    assert problem_in(response) == (409, "batch-closed")


def test_a_batch_exists_for_the_key_that_uploaded_it(idle: TestClient, settings: Settings) -> None:
    keys = {name: with_new_key(settings, name).key for name in ("owner", "other")}
    keys["admin"] = with_new_key(settings, "admin", "admin").key
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    sent = _upload(idle, _json_lines(TEXTS), **headers["owner"])
    path = sent.headers["location"]
    for each in (path, f"{path}/results"):
        assert problem_in(idle.get(each, headers=headers["other"])) == (404, "unknown-batch")
    response = idle.delete(path, headers=headers["other"])
    assert problem_in(response) == (404, "unknown-batch")
    assert idle.get(path, headers=headers["admin"]).json() == sent.json()
    cancelled = idle.delete(path, headers=headers["owner"]).json()
    assert (cancelled["jobs"]["cancelled"], cancelled["is_complete"]) == (5, True)
    results = [
        json.loads(line)
        for line in idle.get(f"{path}/results", headers=headers["owner"]).text.splitlines()
    ]
    assert [each["index"] for each in results] == list(range(300))
    assert {each["error"]["code"] for each in results} == {"job-cancelled"}


# --- Jobs ------------------------------------------------------------------------------------


@pytest.mark.unit
def test_jobs_are_cut_by_number_and_by_bytes_and_keep_the_order() -> None:
    limits = Limits(bytes_per_message=2000, chars_per_text=1800)
    texts = [letter * size for letter in "aä😀" for size in (1, 100, 140, 5, 90, 1, 1, 130)]
    texts += ["x" * 1700, "y", "z" * 1700, *("w" for _ in range(20))]
    cutter = JobCutter(limits, 4)
    jobs = [job for text in texts if (job := cutter.add(text))]
    jobs.append(cutter.rest())
    assert [text for job in jobs for text in job] == texts
    for job in jobs:
        assert 1 <= len(job) <= 4
        check_job(job, limits)
    for job, following in pairwise(jobs):
        is_full = message_bytes(job) + message_bytes(following[:1]) > limits.bytes_per_message
        assert len(job) == 4 or is_full
    assert len(jobs) < len(texts)


@pytest.mark.unit
def test_a_record_of_a_job_takes_nine_bytes() -> None:
    for texts in (1, 256):
        assert len(JobRecord.of(texts, b"0123456789").packed()) == 9
