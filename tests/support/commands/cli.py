"""The command `sentq`, run in a pipe and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.support.commands.terminal import read_terminal

__all__ = ["CliRun"]


class CliRun:
    """Runs `sentq` in a pipe."""

    def __init__(self, broker_url: str) -> None:
        self._environment = os.environ | {"SENTQ_BROKER_URL": broker_url, "COLUMNS": "100"}

    def __call__(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sentq.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=self._environment,
        )

    def on_a_terminal(self, *arguments: str) -> str:
        """Run `sentq` on a terminal, and return both output streams."""
        primary, secondary = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "sentq.cli", *arguments],
            stdout=secondary,
            stderr=secondary,
            env=self._environment,
        )
        os.close(secondary)
        shown = read_terminal(primary)
        process.wait(30)
        return shown.decode()
