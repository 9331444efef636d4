"""A shell in which tests run the commands that documents and examples show."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.commands.terminal import read_terminal

__all__ = ["WAIT_S", "Shell"]

ROOT: Final = Path(__file__).parents[3]

WAIT_S: Final = 150

#: Colours and other controls of a terminal.
_CONTROLS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shell:
    """Runs commands as a reader of the examples does, in an empty folder beside `examples`."""

    def __init__(self, folder: Path, broker_url: str, **environment: str) -> None:
        self.folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {
            "PATH": path,
            "SENTQ_BROKER_URL": broker_url,
            **environment,
        }

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command; standard output and error are one stream, as on a terminal."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        with self.start(command) as process:
            printed, _ = process.communicate(timeout=WAIT_S)
            return process.returncode, printed

    def run_on_a_terminal(self, command: str) -> tuple[int, str]:
        """Run a command on a terminal of 100 columns; return its exit code and what it showed."""
        primary, secondary = pty.openpty()
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment | {"COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=secondary,
            stderr=secondary,
        ) as process:
            os.close(secondary)
            shown = read_terminal(primary)
            process.wait(WAIT_S)
        return process.returncode, _CONTROLS.sub("", shown.decode()).replace("\r\n", "\n")
