"""Workers that start in a tenth of a second: forked from a process that has imported everything.

`python -m tests.support.fork_server [module …]` reads JSON objects, one per line, and forks a
worker for each. It prints `started <pid>` and `ended <pid> <exit code>`. Each worker is a process
with its own connections, and can be killed like any other. When the input ends, the server kills
the remaining workers.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["ForkServer", "ForkedProcess"]

#: Modules to import before the first fork. None of them starts a thread on import.
_IMPORTED: Final = (
    "tests.support.workers.standin",
    "celery.bin.celery",
    "celery.apps.worker",
    "kombu.asynchronous",
)


class ForkedProcess:
    """A process of a fork server, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that killed it; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: The process still runs.
        """
        if not self._ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(f"forked worker {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def end(self, returncode: int) -> None:
        """Set the exit code. The fork server calls this."""
        self.returncode = returncode
        self._ended.set()


class ForkServer:
    """Forks workers. Closing it kills those that still run.

    Args:
        imports: Further modules to import before the first worker is forked.
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", *imports],
            env={k: v for k, v in os.environ.items() if not k.startswith(("SENTQ_", "CELERY_"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lock = threading.Lock()
        self._started: list[int] = []
        self._changed = threading.Condition()
        self._children: dict[int, ForkedProcess] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, module: str, environment: Mapping[str, str], log_file: Path) -> ForkedProcess:
        """Fork a worker that runs a module's `main()` and writes its output to a file."""
        request = {"module": module, "environment": dict(environment), "log": str(log_file)}
        with self._lock:
            if self._process.stdin is None:
                raise RuntimeError("the fork server is closed")
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            with self._changed:
                if not self._changed.wait_for(lambda: self._started, timeout=60):
                    raise RuntimeError("the fork server has not forked a worker within 60 s")
                return self._children[self._started.pop()]

    def close(self) -> None:
        """Kill the workers that still run."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            what, pid, *more = line.split()
            with self._changed:
                if what == b"started":
                    self._children[int(pid)] = ForkedProcess(int(pid))
                    self._started.append(int(pid))
                    self._changed.notify_all()
                else:
                    self._children.pop(int(pid)).end(int(more[0]))


def main() -> None:
    """Fork a worker per request until the input ends."""
    for name in (*_IMPORTED, *sys.argv[1:]):
        importlib.import_module(name)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake_reader], [], [])
        if wake_reader in ready:
            os.read(wake_reader, 1024)
            _reap(running)
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            running.add(pid := _fork(json.loads(line), (wake_reader, wake_writer)))
            _print(f"started {pid}")
            _reap(running)  # It may have ended before it was in `running`.
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _reap(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            _print(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _print(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _fork(request: Mapping[str, Any], server_fds: tuple[int, ...]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        empty_input = os.open(os.devnull, os.O_RDONLY)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(empty_input, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for each in (empty_input, log, *server_fds):
            os.close(each)
        os.environ.update(request["environment"])
        sys.argv = [request["module"]]
        run: Callable[[], None] = importlib.import_module(request["module"]).main
        run()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:  # noqa: BLE001 - the child must not return to the server's loop
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
