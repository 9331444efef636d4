"""Run the application under uvicorn, and send it requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.support.logs import register_log
from tests.support.ports import free_port
from tests.support.processes import eventually

__all__ = ["NAME", "Response", "WebServer", "request", "requests"]

#: The name of the application's connections to Redis.
NAME: Final = "sentq-web"

#: What uvicorn logs once it listens.
_STARTED: Final = "Uvicorn running on"


class Response(NamedTuple):
    """A response, whose body is JSON."""

    status: int
    body: Any


class WebServer:
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
        self.log_file = register_log(folder / f"web-{self.port}.log")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *python, "-m", "uvicorn"),
                    f"tests.support.web.application:{app}",
                    *("--port", str(self.port), *options),
                ],
                env=os.environ | {"SENTQ_BROKER_URL": f"{broker_url}?client_name={NAME}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Its output so far."""
        return self.log_file.read_text(errors="replace")

    def wait_until_ready(self) -> Self:
        """Wait until it takes requests."""
        eventually(lambda: _STARTED in self.log or self.process.poll() is not None, within_s=60)
        assert self.process.poll() is None, self.log
        return self

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it, and return its exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


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
