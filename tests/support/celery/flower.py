"""Flower, started as an operator starts it, and requests for its pages."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from tests.support.processes import WorkerProcess, free_port

__all__ = ["PASSWORD", "USER", "Flower", "start_flower"]

USER: Final = "operator"
PASSWORD: Final = "flower-secret"


@dataclass
class Flower:
    """A running Flower, and the bodies of all its replies so far."""

    port: int
    process: WorkerProcess
    replies: list[str] = field(default_factory=list)

    def get(self, path: str, *, user: str = USER, password: str = PASSWORD) -> tuple[int, str]:
        """Return the status and body of the reply."""
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} if user else {}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            status, body = response.status, response.read().decode()
        self.replies.append(body)
        return status, body

    def get_json(self, path: str) -> dict[str, Any]:
        """Return the JSON of a reply of the API."""
        status, body = self.get(path)
        assert status == 200, body or self.process.log[-3000:]
        reply: dict[str, Any] = json.loads(body)
        return reply

    def sees_the_worker(self) -> bool:
        """Whether Flower receives events; it gets no event that was sent before."""
        assert self.process.process.poll() is None, self.process.log
        try:
            return "flower_worker_online{" in self.get("/metrics")[1]
        except ConnectionRefusedError:
            return False


def start_flower(folder: Path, environment: dict[str, str]) -> Flower:
    """Start Flower for the workers of this environment, without waiting until it is ready."""
    port = free_port()
    process = WorkerProcess(
        folder,
        environment | {"FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}"},
        ("celery", "-A", "sentq_worker", "flower", f"--port={port}", "--address=127.0.0.1"),
    )
    return Flower(port, process)
