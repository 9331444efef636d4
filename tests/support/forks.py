"""Workers that start in a tenth of a second: forked from a process that has imported everything.

`python -m tests.support.forks [module …]` reads a JSON object a line, forks a worker for each, and
says what became of it: `started <pid>`, `ended <pid> <exit code>`. Each is a process of its own,
with a connection of its own, and can be killed like any other. When its input ends all are killed.
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

__all__ = ["Forked", "Nursery"]

#: What workers import, before the first is forked. None of them starts a thread as it does.
_IMPORTED: Final = (
    "tests.support.workers.standin",
    "celery.bin.celery",
    "celery.apps.worker",
    "kombu.asynchronous",
)


class Forked:
    """A process of a nursery, with what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that killed it; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        if not self._ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(f"forked worker {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def end(self, returncode: int) -> None:
        """Note that it has ended. The nursery calls this."""
        self.returncode = returncode
        self._ended.set()


class Nursery:
    """Forks workers. To be closed; that kills those that still run.

    Args:
        imports: Further modules to import before the first worker is forked.
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks", *imports],
            env={k: v for k, v in os.environ.items() if not k.startswith(("SENTQ_", "CELERY_"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lock = threading.Lock()
        self._started: list[int] = []
        self._news = threading.Condition()
        self._children: dict[int, Forked] = {}
        self._preprocessor = threading.Thread(target=self._read, daemon=True)
        self._preprocessor.start()

    def start(self, module: str, environment: Mapping[str, str], log_file: Path) -> Forked:
        """Fork a worker that runs a module's `main()`, and says what it says to a file."""
        asked = {"module": module, "environment": dict(environment), "log": str(log_file)}
        with self._lock:
            if self._process.stdin is None:
                raise RuntimeError("the nursery is closed")
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            with self._news:
                if not self._news.wait_for(lambda: self._started, timeout=60):
                    raise RuntimeError("the nursery forked nothing within a minute")
                return self._children[self._started.pop()]

    def close(self) -> None:
        """Kill what still runs."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
        self._preprocessor.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            what, pid, *more = line.split()
            with self._news:
                if what == b"started":
                    self._children[int(pid)] = Forked(int(pid))
                    self._started.append(int(pid))
                    self._news.notify_all()
                else:
                    self._children.pop(int(pid)).end(int(more[0]))


def main() -> None:
    """Fork as asked, until the input ends."""
    for name in (*_IMPORTED, *sys.argv[1:]):
        importlib.import_module(name)
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 1024)
            _reap(running)
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            running.add(pid := _fork(json.loads(line), (wakes, woken)))
            _say(f"started {pid}")
            _reap(running)  # It may have ended before it was known.
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _reap(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _fork(asked: Mapping[str, Any], ours: tuple[int, ...]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for each in (nothing, log, *ours):
            os.close(each)
        os.environ.update(asked["environment"])
        sys.argv = [asked["module"]]
        run: Callable[[], None] = importlib.import_module(asked["module"]).main
        run()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may return into the nursery's own loop
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
