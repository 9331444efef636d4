"""Real processes for tests: started and awaited with a deadline, and stopped by their pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import redis

from sentq.wire.functions import load_functions
from tests.support.fork_server import ForkedProcess, ForkServer
from tests.support.logs import register_log
from tests.support.ports import free_port
from tests.support.roles.users import (
    ARE_TESTED,
    as_role,
    program_with_users,
    role_of_command,
)

__all__ = [
    "LoggedProcess",
    "RedisProcess",
    "StartWorker",
    "WorkerProcess",
    "eventually",
    "free_port",
    "worker_environment",
]

T = TypeVar("T")


def eventually(check: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """Call `check` until it returns a true value, and return that value.

    Raises:
        AssertionError: There was no true value within `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: {what or check}"
        time.sleep(0.02)


class LoggedProcess:
    """A process of its own. What it prints is in a file.

    Args:
        command: The program and its arguments.
        environment: Variables in addition to those of the tests.
        log_file: The file.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log_file: Path
    ) -> None:
        self.log_file = register_log(log_file)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Its output so far."""
        return self.log_file.read_text(errors="replace")

    def wait_until(self, is_ready: Callable[[], bool], *, within_s: float = 60) -> Self:
        """Wait until a condition holds while the process runs."""
        eventually(
            lambda: is_ready() or self.process.poll() is not None,
            within_s=within_s,
            what=f"{type(self).__name__} ready",
        )
        assert self.process.poll() is None, self.log
        return self

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self, *, within_s: float = 30) -> int:
        """Send SIGTERM, and return the exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class RedisProcess:
    """A real Redis with its own port and folder."""

    def __init__(self, server: Path, folder: Path, *options: str) -> None:
        self._server, users = program_with_users(server, folder)
        self._folder = folder
        self._options = (*options, *users)
        self._has_users = bool(users)
        self.port = free_port()
        #: For clients. A worker that is started with it connects as the user of workers.
        self.url = self.url_of("producer")
        self.log_file = register_log(folder / f"redis-{self.port}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def url_of(self, role: str) -> str:
        """Return the URL for a role, if this Redis has users; else that of all."""
        url = f"redis://127.0.0.1:{self.port}/0"
        return as_role(url, role) if self._has_users else url

    def start(self, *, within_s: float = 20.0) -> Self:
        """Start the server with the data it has, and wait until it replies."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self._server,
                    *("--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", self._folder, "--save", "", "--appendonly", "yes"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: self._replies() or self._has_ended(), within_s=within_s, what="a Redis")
        assert not self._has_ended(), self.log_file.read_text(errors="replace")
        if self._has_users and "--replicaof" not in self._options:
            # Tests send jobs before the first worker starts. So an administrator was here.
            with redis.Redis.from_url(self.url_of("administrator")) as administrator:
                load_functions(administrator)
        return self

    def stop(self) -> None:
        """Stop the server with SIGTERM, and keep its data."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def kill(self) -> None:
        """Kill it with SIGKILL; what its append-only file holds stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def client(self) -> redis.Redis:
        """Return a new connection."""
        return redis.Redis(port=self.port)

    def _replies(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


class WorkerProcess:
    """A real worker.

    `command` follows `python -m`. With a fork server, it is a module that has a `main()`.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        command: Sequence[str] = ("sentq_worker",),
        *,
        fork_server: ForkServer | None = None,
    ) -> None:
        self.log_file = register_log(folder / f"worker-{time.monotonic_ns()}.log")
        self.process: subprocess.Popen[bytes] | ForkedProcess
        if ARE_TESTED:
            environment = _environment_of_role(environment, role_of_command(command))
        if fork_server is not None:
            (module,) = command
            self.process = fork_server.start(module, environment, self.log_file)
            return
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Its output so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_until_ready(self) -> Self:
        """Wait until the worker takes jobs."""
        # A start takes some seconds of CPU, which a busy machine may give late.
        eventually(
            lambda: "ready." in self.log or self.process.poll() is not None,
            within_s=150,
            what="worker ready",
        )
        assert self.process.poll() is None, self.log
        return self

    def stop(self, *, within_s: float = 30) -> int:
        """Send SIGTERM, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def _environment_of_role(environment: dict[str, str], role: str) -> dict[str, str]:
    """Return the variables of a process, with the user of a role in each URL of a Redis."""
    urls = {
        name: environment[name]
        for name in ("SENTQ_BROKER_URL", "SENTQ_RESULT_URL")
        if environment.get(name, "").startswith(as_role("redis://", "producer"))
    }
    named = {name: as_role(url, role) for name, url in urls.items()}
    return environment | named


#: The fixture `start_worker`: starts a worker of a Redis, with options and variables.
StartWorker = Callable[..., WorkerProcess]


def worker_environment(broker_url: str, model: Path) -> dict[str, str]:
    """Return the variables of a test's worker.

    One thread: with more of them, threads wait for each other while other tests use the cores.
    """
    return {
        "SENTQ_BROKER_URL": broker_url,
        "SENTQ_WORKER_MODEL": str(model),
        "SENTQ_WORKER_THREADS": "1",
    }
