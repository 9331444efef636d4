"""Run the application under uvicorn, and send it requests."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.support.ports import free_port
from tests.support.processes import LoggedProcess

__all__ = ["NAME", "Response", "WebServer", "request", "requests"]

#: The name of the application's connections to Redis.
NAME: Final = "sentq-web"

#: What uvicorn logs once it listens.
_STARTED: Final = "Uvicorn running on"


class Response(NamedTuple):
    """A response, whose body is JSON."""

    status: int
    body: Any


class WebServer(LoggedProcess):
    """The application in a process of its own, with one event loop.

    Args:
        folder: Its log is written there.
        broker_url: The Redis of its jobs.
        options: Further options of uvicorn.
        app: The name of the application.
        python: Options of Python.
    """

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        *options: str,
        app: str = "app",
        python: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        super().__init__(
            [
                *(sys.executable, *python, "-m", "uvicorn"),
                f"tests.support.web.application:{app}",
                *("--port", str(self.port), *options),
            ],
            {"SENTQ_BROKER_URL": f"{broker_url}?client_name={NAME}"},
            folder / f"web-{self.port}.log",
        )

    def wait_until_ready(self) -> Self:
        """Wait until it takes requests."""
        return self.wait_until(lambda: _STARTED in self.log)


async def request(port: int, method: str, path: str, body: object = None) -> Response:
    """Send a request on a connection of its own, and return the response.

    Raises:
        ConnectionError: The server closed the connection without a response.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{method} {path} HTTP/1.1",
            *("Host: test", "Connection: close", "Content-Type: application/json"),
            f"Content-Length: {len(content)}",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + content)
        received = await reader.read()
    finally:
        writer.close()
    if not received:
        raise ConnectionResetError("no response")
    lines, _, content = received.partition(b"\r\n\r\n")
    status = int(lines.split(b" ", 2)[1])
    is_json = b"application/json" in lines
    return Response(status, json.loads(content) if is_json else content.decode())


async def requests(port: int, path: str, texts: Iterable[str]) -> list[Response | BaseException]:
    """Send a request for each text, all at once; return the responses in order, or the errors."""
    calls = [request(port, "POST", path, {"text": text}) for text in texts]
    return await asyncio.gather(*calls, return_exceptions=True)
