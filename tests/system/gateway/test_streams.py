"""Bodies and responses that take long, over real connections: uploads, downloads, events."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from tests.support.gateway.process import PROBLEMS, GatewayProcess
from tests.support.gateway.responses import problem_in
from tests.support.processes import RedisProcess, eventually
from tests.support.workers.standin import hash_score
from tests.system.gateway.conftest import StartGateway

pytestmark = pytest.mark.slow

LINES = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "upload"}

TEXTS = [f"text {number}" for number in range(60_000)]


def _lines(texts: list[str], *, parts: int = 60) -> Iterator[bytes]:
    """Yield the body of an upload in so many parts."""
    size = -(-len(texts) // parts)
    for first in range(0, len(texts), size):
        yield b"".join(json.dumps(text).encode() + b"\n" for text in texts[first : first + size])


def _check_results(http: httpx.Client, path: str, first: int = 0) -> None:
    with http.stream("GET", f"{path}/results", params={"first": first}) as response:
        rows = [json.loads(line) for line in response.iter_lines()]
    assert [row["index"] for row in rows] == list(range(first, len(TEXTS)))
    assert [row["score"] for row in rows] == [hash_score(text) for text in TEXTS[first:]]


# --- Batches ---------------------------------------------------------------------------------


def test_an_upload_is_scored_and_its_results_are_streamed_in_order(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway()
    with gateway.client() as http:
        sent = http.post("/v1/batches", content=_lines(TEXTS), headers=LINES)
        assert sent.status_code == 202
        path = sent.headers["location"]
        _check_results(http, path)
        _check_results(http, path, first=12_345)
        document = http.get(path).json()
    assert (document["texts"], document["is_complete"]) == (len(TEXTS), True)
    assert document["jobs"]["done"] == document["jobs"]["total"] == -(-len(TEXTS) // 64)
    assert not PROBLEMS.search(gateway.log), gateway.log


class _Upload(threading.Thread):
    """An upload that stops in the middle until it is told to go on."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__()
        self.has_half = threading.Event()
        self.go_on = threading.Event()
        self.response: httpx.Response | None = None
        self._gateway = gateway

    def run(self) -> None:
        """Send the body."""
        with self._gateway.client() as http:
            try:
                self.response = http.post("/v1/batches", content=self._parts(), headers=LINES)
            except httpx.TransportError:
                self.response = None

    def _parts(self) -> Iterator[bytes]:
        for number, part in enumerate(_lines(TEXTS)):
            if number == 30:
                self.has_half.set()
                self.go_on.wait(60)
            yield part


def _jobs_sent(redis_server: RedisProcess) -> int:
    with redis_server.client() as redis:
        keys: Any = redis.keys("sentq-batch-*:jobs")
        return sum(int(redis.strlen(key)) // 16 for key in keys)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGTERM, id="terminated", marks=pytest.mark.long),
    ],
)
def test_an_upload_goes_on_at_another_gateway_when_the_first_one_ends(
    start_gateway: StartGateway, scored_redis: RedisProcess, end: signal.Signals
) -> None:
    with scored_redis.client() as redis:
        redis.flushall()
    first, second = start_gateway(), start_gateway()
    upload = _Upload(first)
    upload.start()
    assert upload.has_half.wait(30)
    eventually(lambda: _jobs_sent(scored_redis) >= 128, what="jobs of the first gateway")
    first.process.send_signal(end)
    if end is signal.SIGKILL:
        first.process.wait()
    upload.go_on.set()
    upload.join(30)
    if end is signal.SIGTERM:
        assert upload.response is not None
        assert problem_in(upload.response) == (503, "gateway-stopping")

    def repeated() -> httpx.Response | None:
        with second.client() as http:
            response = http.post("/v1/batches", content=_lines(TEXTS), headers=LINES)
        assert response.status_code in (202, 409), response.text
        return response if response.status_code == 202 else None

    sent: Any = eventually(repeated, within_s=90, what="the end of the lost attempt")
    with second.client() as http:
        _check_results(http, sent.headers["location"])
        document = http.get(sent.headers["location"]).json()
    assert document["texts"] == len(TEXTS)
    assert document["jobs"]["total"] == -(-len(TEXTS) // 64)


# --- Bodies ----------------------------------------------------------------------------------


def _connection(gateway: GatewayProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", urlsplit(gateway.url).port or 0, timeout=30)


def test_a_body_that_is_too_large_is_refused_while_it_is_sent(start_gateway: StartGateway) -> None:
    gateway = start_gateway(SENTQ_GATEWAY_MAX_BODY_BYTES="100000")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 50_000
            yield b"x" * 50_000

    headers = {"Content-Type": "application/json"}
    connection = _connection(gateway)
    connection.putrequest("POST", "/v1/jobs")
    for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.sock.settimeout(30)
    for part in endless():
        try:
            connection.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        except OSError:
            break
        if sent >= 1_000_000:
            break
    with connection.getresponse() as response:
        assert response.status == 413
        assert response.headers["connection"] == "close"
        assert json.load(response)["type"].endswith(":body-too-large")
    connection.close()

    connection = _connection(gateway)
    connection.request("POST", "/v1/jobs", headers=headers | {"Content-Length": str(10**10)})
    started_s = time.monotonic()
    with connection.getresponse() as response:
        assert response.status == 413
    assert time.monotonic() - started_s < 10
    connection.close()
    assert not PROBLEMS.search(gateway.log), gateway.log


def test_a_body_that_does_not_arrive_is_given_up(start_gateway: StartGateway) -> None:
    gateway = start_gateway(SENTQ_GATEWAY_BODY_TIMEOUT_S="0.5")
    for path, kind in (("/v1/jobs", "application/json"), ("/v1/batches", "text/csv")):
        connection = _connection(gateway)
        headers = {"Content-Type": kind, "Content-Length": "1000"}
        connection.request("POST", path, body=b"text\n", headers=headers)
        with connection.getresponse() as response:
            assert response.status == 408
            assert json.load(response)["type"].endswith(":body-too-slow")
        connection.close()
    assert not PROBLEMS.search(gateway.log), gateway.log


def test_a_client_that_goes_away_in_a_body_leaves_nothing_in_the_log(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway()
    port = urlsplit(gateway.url).port
    for path in ("/v1/jobs", "/v1/batches"):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
            if path == "/v1/batches":
                head[-1] = "Content-Type: text/csv"
            raw.sendall("\r\n".join([*head, "Content-Length: 100", "", "te"]).encode())
        eventually(lambda path=path: f"POST {path}: 499" in gateway.log)  # type: ignore[misc]
    assert not PROBLEMS.search(gateway.log), gateway.log


# --- Events ----------------------------------------------------------------------------------


def test_a_browser_follows_a_job_from_its_beginning_to_its_end(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(SENTQ_GATEWAY_HEARTBEAT_S="0.3")
    with gateway.client() as http:
        path = http.post("/v1/jobs", json={"texts": "x", "delay_s": 2}).headers["location"]
        with http.stream("GET", f"{path}/events") as response:
            text = "".join(response.iter_text())
    names = [line for line in text.splitlines() if line.startswith("event")]
    assert names[0] == "event: status"
    assert names[-1] == "event: end"
    assert '"status":"scheduled"' in text
    assert ": nothing new" in text
    assert not PROBLEMS.search(gateway.log), gateway.log


# --- Heads -----------------------------------------------------------------------------------


def _reply_to(gateway: GatewayProcess, parts: Iterator[bytes]) -> bytes:
    """Send raw bytes until the gateway ends the connection; return what it sends."""
    with socket.create_connection(("127.0.0.1", urlsplit(gateway.url).port), timeout=30) as raw:
        try:
            for part in parts:
                raw.sendall(part)
        except OSError:
            pass
        return raw.recv(4096)


def test_headers_without_end_are_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway()

    def endless() -> Iterator[bytes]:
        yield b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
        for number in range(1_000_000):
            time.sleep(0.001)
            yield f"X-{number}: {'x' * 1000}\r\n".encode()

    assert _reply_to(gateway, endless()).startswith(b"HTTP/1.1 431 ")
    with gateway.client() as http:
        assert http.get("/livez", headers={"X-Long": "x" * 30_000}).status_code == 200


@pytest.mark.long
def test_a_head_that_does_not_end_is_given_up(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    for part in (b"", b"GET /livez HTTP/1.1\r\nHo"):
        assert _reply_to(gateway, iter([part])).startswith(b"HTTP/1.1 408 ")
