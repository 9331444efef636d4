"""Flower, started as an operator starts it, and asked for what it shows."""

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
    """A running Flower, and all that it has answered so far."""

    port: int
    process: WorkerProcess
    answers: list[str] = field(default_factory=list)

    def get(self, path: str, *, user: str = USER, password: str = PASSWORD) -> tuple[int, str]:
        """Status and body of the answer."""
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} if user else {}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            status, body = response.status, response.read().decode()
        self.answers.append(body)
        return status, body

    def ask(self, path: str) -> dict[str, Any]:
        """An answer of the API."""
        status, body = self.get(path)
        assert status == 200, body or self.process.log[-3000:]
        answer: dict[str, Any] = json.loads(body)
        return answer

    def sees_the_worker(self) -> bool:
        """Whether it listens to events: they are not kept for those who come later."""
        assert self.process.process.poll() is None, self.process.log
        try:
            return "flower_worker_online{" in self.get("/metrics")[1]
        except ConnectionRefusedError:
            return False


def start_flower(folder: Path, environment: dict[str, str]) -> Flower:
    """Start one for the workers of this environment; it is not yet there when this returns."""
    port = free_port()
    process = WorkerProcess(
        folder,
        environment | {"FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}"},
        ("celery", "-A", "sentq_worker", "flower", f"--port={port}", "--address=127.0.0.1"),
    )
    return Flower(port, process)
