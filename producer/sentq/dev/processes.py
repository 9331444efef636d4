"""What the local stack does with each of its processes: its log, its start and its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["last_lines", "start_module", "stop"]

#: How many lines of a log an error quotes.
_LINES: Final = 3


def start_module(
    module: str, *options: str, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a module of Python in a session of its own, so that Ctrl-C does not reach it.

    Args:
        module: The module.
        options: Its options.
        log: The file of its output; what it held is removed.
        environment: All of its variables.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], *, within_s: float) -> None:
    """Send SIGTERM to a process, if it has not ended; kill it after so many seconds."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(log: Path) -> str:
    """Return the end of a log on one line."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-_LINES:])
