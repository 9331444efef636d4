"""Options, exit codes and messages that the commands share."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from sentq.dev.embedded import NoRedisFound
from sentq.errors import (
    BatchError,
    BatchTimeout,
    InvalidInput,
    JobError,
    Overloaded,
    SentqError,
    SettingsError,
    WaitTimeout,
)
from sentq.text_files import FileProblem

__all__ = ["Broker", "Config", "Exit", "exit_code", "notes", "say"]

#: For progress, messages and errors; results go to standard output.
notes: Final = Console(stderr=True, highlight=False)


class Exit(IntEnum):
    """Exit codes, as `sentq score --help` lists them."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    TIMEOUT = 4
    OVERLOADED = 5
    INTERRUPTED = 130


def exit_code(error: SentqError) -> Exit:
    """Return the exit code of a command that failed with an error."""
    match error:
        case SettingsError() | InvalidInput() | FileProblem() | NoRedisFound():
            return Exit.USAGE
        case Overloaded():
            return Exit.OVERLOADED
        case WaitTimeout() | BatchTimeout():
            return Exit.TIMEOUT
        case JobError() | BatchError():
            return Exit.SOME_FAILED
        case _:
            return Exit.UNAVAILABLE


def say(line: str) -> None:
    """Print a message to standard error."""
    notes.print(f"sentq: {line}", markup=False, soft_wrap=True)


Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings (default: the file that SENTQ_CONFIG names).", metavar="FILE"
    ),
]
Broker = Annotated[
    str | None,
    typer.Option("--broker-url", help="Redis to use (default: SENTQ_BROKER_URL).", metavar="URL"),
]
