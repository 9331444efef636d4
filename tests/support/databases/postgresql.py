"""A PostgreSQL server of its own in a folder of its own, which ends with the block."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.support.missing import skip_without
from tests.support.ports import free_port

__all__ = ["PASSWORD", "PostgresServer", "postgresql_server"]

#: Where Debian has the programs of a server.
_DEBIAN: Final = Path("/usr/lib/postgresql")

#: A server cannot run as root: Debian's package has this user.
_USER: Final = "postgres"

#: The password of the superuser `owner`, and part of what must not be shown anywhere.
PASSWORD: Final = "s3cret-of-tests"


class PostgresServer:
    """A server.

    Args:
        programs: The folder of initdb and pg_ctl.
        folder: A folder that is empty.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self.port = free_port()

    @property
    def url(self) -> str:
        """The URL of the superuser `owner`."""
        return self.url_of("owner", PASSWORD)

    def url_of(self, user: str, password: str) -> str:
        """Return the URL of a user."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/postgres"

    def execute(self, *statements: str) -> list[Any]:
        """Run statements, and return the rows of the last one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create(self) -> None:
        """Make the files of the server."""
        password = self._folder / "password"
        password.write_text(PASSWORD)
        os.chown(password, *_owner()) if os.getuid() == 0 else None
        self._run(
            "initdb",
            "--no-sync",
            "--username",
            "owner",
            "--auth",
            "scram-sha-256",
            "--pwfile",
            str(password),
            "--encoding",
            "UTF8",
            "--no-locale",
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off "
            "-c max_connections=20"
        )
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", log, "--options", options)

    def stop(self) -> None:
        """Stop it: connections break."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
        command: Sequence[str] = [
            *as_user,
            str(self._programs / program),
            "--pgdata",
            str(self._folder / "data"),
            *arguments,
        ]
        # What pg_ctl starts keeps its standard output open.
        done = subprocess.run(
            command,
            check=False,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with status {done.returncode}")


def _owner() -> tuple[int, int]:
    user = pwd.getpwnam(_USER)
    return user.pw_uid, user.pw_gid


def _programs() -> Path:
    """Find the programs of a server, or skip the test."""
    for folder in sorted(_DEBIAN.glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found is None:
        skip_without("postgresql", "not installed")
    return Path(found).resolve().parent


@contextmanager
def postgresql_server() -> Iterator[PostgresServer]:
    """Yield a server that runs; skip the test if this machine has no PostgreSQL."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="sentq-pg-") as name:  # Short: it has a socket.
        folder = Path(name)
        if os.getuid() == 0:
            os.chown(folder, *_owner())
        server = PostgresServer(programs, folder)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
