"""Options, exit codes and messages that the commands share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from sentq.client import Client
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
from sentq.files import FileProblem
from sentq.settings import Settings

__all__ = [
    "AsJson",
    "Broker",
    "Config",
    "DryRun",
    "Exit",
    "Yes",
    "confirm",
    "duration_s",
    "exit_code",
    "notes",
    "open_client",
    "say",
    "wants_json",
    "with_settings",
]

_settings_of_program: Final[ContextVar[Settings | None]] = ContextVar("settings", default=None)

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


@contextmanager
def with_settings(settings: Settings) -> Iterator[None]:
    """Let commands that run in the block use these settings in place of environment and file.

    For programs that run a command as a part of themselves, such as manage.py of Django.
    """
    token = _settings_of_program.set(settings)
    try:
        yield
    finally:
        _settings_of_program.reset(token)


def open_client(config: Path | None, broker_url: str | None) -> Client:
    """Return a client with the settings that the options of a command name.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    given = _settings_of_program.get()
    if given is None or config is not None:
        return Client(Settings.load(config, broker_url=broker_url))
    return Client(given) if broker_url is None else Client(given, broker_url=broker_url)


_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(duration: str) -> float:
    """Return the seconds of a duration such as `90s` or `2h`: the parser of an option."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", duration)
    if found is None:
        raise typer.BadParameter(f"{duration!r} is not a duration such as 90s, 15m, 2h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def say(line: str) -> None:
    """Print a message to standard error."""
    notes.print(f"sentq: {line}", markup=False, soft_wrap=True)


def confirm(verb: str, count: int) -> None:
    """Ask on the terminal whether to do something with so many things.

    Raises:
        InvalidInput: There is no terminal to ask on.
        typer.Exit: The answer is no.
    """
    if not sys.stdin.isatty():
        raise InvalidInput(f"no terminal to confirm on: add --yes to {verb} them")
    if not typer.confirm(f"{verb} {count:,}?", err=True):
        raise typer.Exit(Exit.SOME_FAILED)


def wants_json(as_json: bool | None) -> bool:
    """Return whether to write JSON: by the option, else if standard output is not a terminal."""
    return not sys.stdout.isatty() if as_json is None else as_json


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
AsJson = Annotated[
    bool | None,
    typer.Option("--json/--table", help="JSON lines or a table (default: by terminal)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
