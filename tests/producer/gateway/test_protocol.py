"""What one connection to a gateway may cost, with bounds of fractions of a second.

The bounds themselves are in `security/gateway/test_abuse.py`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn

from sentq.gateway import protocol
from sentq.gateway.middleware import RequestFrame
from sentq.gateway.protocol import BoundedHttpProtocol
from tests.support.gateway.raw import connect, exchange, head, read_reply
from tests.support.processes import eventually

MOST_CONNECTIONS = 3

PART = b"x" * 65536


class _Application:
    """An application with a page that streams without end, and one that names its headers."""

    def __init__(self) -> None:
        #: The paths of requests that have ended.
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        if scope["path"] == "/endless":
            gone = asyncio.create_task(_until_gone(receive))
            while not gone.done():
                await send({"type": "http.response.body", "body": PART, "more_body": True})
                await asyncio.sleep(0.001)
        names = b",".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.body", "body": names})
        self.ended.append(scope["path"])


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture
def application() -> _Application:
    return _Application()


@pytest.fixture
def port(application: _Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server in a thread."""
    monkeypatch.setattr(protocol, "_HEAD_S", 0.4)
    monkeypatch.setattr(protocol, "_UNREAD_S", 0.4)
    config = uvicorn.Config(
        RequestFrame(application),
        http=BoundedHttpProtocol,
        lifespan="off",
        limit_concurrency=MOST_CONNECTIONS,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_probes_are_answered_where_others_exceed_the_number_of_connections(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            connection = stack.enter_context(connect(port))
            connection.sendall(head("GET", "/page"))
            assert str(read_reply(connection)) == "200"
        refused = exchange(port, head("GET", "/page"))
        assert (str(refused), refused.is_end) == ("503 `too-many-connections`", True)
        assert str(exchange(port, head("GET", "/livez"))) == "200"
    eventually(lambda: str(exchange(port, head("GET", "/page"))) == "200")


def test_a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not(
    port: int, application: _Application
) -> None:
    with connect(port) as slow, connect(port) as silent:
        for each in (slow, silent):
            each.sendall(head("GET", "/endless"))
        end_s = time.monotonic() + 1.2
        while time.monotonic() < end_s or not application.ended:
            assert slow.recv(200_000)
            time.sleep(0.02)
            assert time.monotonic() < end_s + 20
        assert application.ended == ["/endless"]


def test_a_head_that_is_slow_behind_a_response_is_not_answered_within_it(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(head("GET", "/endless") + b"GET /page HTTP/1.1\r\nHo")
        received = bytearray()
        while part := connection.recv(1_000_000):
            received += part
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b" 408 " not in received


def test_a_request_is_told_that_its_client_has_gone_though_another_is_behind_it(
    port: int, application: _Application
) -> None:
    with connect(port) as connection:
        connection.sendall(head("GET", "/endless") + head("GET", "/page"))
        assert connection.recv(100)
    eventually(lambda: application.ended == ["/endless"])


def test_trailers_are_no_headers(port: int) -> None:
    request = head("POST", "/page", "Transfer-Encoding: chunked")
    with connect(port) as connection:
        connection.sendall(request + b"1\r\nx\r\n0\r\nAuthorization: x\r\n\r\n")
        connection.settimeout(5)
        received = connection.recv(10_000)
    assert b"host,transfer-encoding" in received
    assert b"authorization" not in received
