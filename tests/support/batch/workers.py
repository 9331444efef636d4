"""Workers with a stand-in for the model, which are killed and replaced."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from tests.support.fork_server import ForkServer
from tests.support.processes import WorkerProcess

__all__ = ["ReplaceableWorkers"]

#: How long after the death of a worker its jobs go to another.
_VISIBILITY_TIMEOUT_S: Final = "3"


class ReplaceableWorkers:
    """Workers of one Redis. Those that are left are killed at the end.

    Args:
        folder: Where they run.
        fork_server: Forks them.
    """

    def __init__(self, folder: Path, fork_server: ForkServer) -> None:
        self._folder = folder
        self._fork_server = fork_server
        self._stack = ExitStack()
        self._running: list[WorkerProcess] = []

    def start(self, url: str, *, is_awaited: bool = True, **variables: str) -> WorkerProcess:
        """Start a worker; with `is_awaited`, wait until it takes jobs."""
        environment = {
            "SENTQ_BROKER_URL": url,
            "SENTQ_VISIBILITY_TIMEOUT_S": _VISIBILITY_TIMEOUT_S,
            **variables,
        }
        worker = WorkerProcess(
            self._folder,
            environment,
            ("tests.support.workers.standin",),
            fork_server=self._fork_server,
        )
        self._stack.callback(_kill, worker)
        self._running.append(worker)
        return worker.wait_until_ready() if is_awaited else worker

    def kill(self, number: int) -> None:
        """Kill a worker, by its place among those that were not killed."""
        _kill(self._running.pop(number))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _kill(worker: WorkerProcess) -> None:
    if worker.process.poll() is None:
        worker.process.kill()
        worker.process.wait()
