"""`sentq dead`: look at what nobody could handle, put it back, or drop it."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from sentq.admin.dead import DeadLetters, RetryResult, Selection
from sentq.cli.common import Broker, Config, Exit, say
from sentq.cli.letters import counted, wants_json, write_json, write_sheets, write_table
from sentq.client import Client
from sentq.errors import InvalidInput
from sentq.settings import Settings
from sentq.wire.dead_letters import DeadLetter

__all__ = ["app"]

_HELP: Final = """Dead letters: messages that nobody could handle, and why.

\b
Examples:
  sentq dead list
  sentq dead list --code worker_lost --newer-than 2h --json
  sentq dead show 1763717117123-0 --show-text
  sentq dead retry --code worker_lost --dry-run
  sentq dead retry 1763717117123-0
  sentq dead drop --older-than 7d --yes

\b
Codes:
  malformed     it is no message, or no task's
  unknown_task  it is a task that the worker does not know
  worker_lost   three workers were lost over it, the last while it ran alone

\b
Exit codes:
  0  done
  1  a letter that was named is not there
  2  a wrong option or setting; or nobody is there to say yes
  3  Redis cannot be reached
"""

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


def _seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", duration)
    if found is None:
        raise typer.BadParameter(f"{duration!r} is no duration such as 90s, 15m, 2h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


Codes = Annotated[
    list[str] | None,
    typer.Option("--code", help="Only letters of this code. May be said again.", metavar="CODE"),
]
OlderThan = Annotated[
    float | None,
    typer.Option(help="Only older letters: 90s, 15m, 2h, 7d.", parser=_seconds, metavar="AGE"),
]
NewerThan = Annotated[
    float | None,
    typer.Option(help="Only newer letters.", parser=_seconds, metavar="AGE"),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Letters by their ids.", metavar="ID...", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[
    bool | None,
    typer.Option("--json/--table", help="JSON lines or a table (default: by terminal)."),
]
ShowText = Annotated[bool, typer.Option("--show-text", help="Show the texts of the jobs too.")]


@app.command("list")
def list_letters(
    codes: Codes = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[int, typer.Option(help="Show the oldest so many.", min=0)] = 100,
    as_json: AsJson = None,
    show_text: ShowText = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Count the letters, and list them, the oldest first."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with _client(config, broker_url) as client:
        counts = client.dead.count(selection)
        say(counted(counts))
        letters = islice(client.dead.letters(selection), limit)
        if wants_json(as_json):
            write_json(letters, show_text=show_text)
        elif counts:
            write_table(letters, show_text=show_text)
    if counts.total() > limit:
        say(f"the oldest {limit:,} are shown; --limit shows more")


@app.command()
def show(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", show_default=False)],
    as_json: AsJson = None,
    show_text: ShowText = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Show all that is known of some letters."""
    with _client(config, broker_url) as client:
        letters = _named(client.dead, ids)
    write = write_json if wants_json(as_json) else write_sheets
    write(letters, show_text=show_text)
    _say_missing(len(ids) - len(letters))


@app.command()
def retry(
    ids: Ids = None,
    codes: Codes = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Put messages back into their queues. Their jobs keep their ids and are queued again; their
    deadlines, if they have any, stay what they were."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with _client(config, broker_url) as client:
        dead, outcomes = client.dead, Counter[RetryResult]()

        def put_back(letter: DeadLetter) -> None:
            outcomes[dead.retry(letter)] += 1

        missing = _each(
            dead, ids, selection, everything, put_back, "retry", dry_run=dry_run, yes=yes
        )
    if outcomes:
        answered = outcomes[RetryResult.ANSWERED]
        say(
            f"{outcomes[RetryResult.RETRIED]:,} put back"
            + (f"; {answered:,} had an answer already, and are dropped" if answered else "")
        )
    _say_missing(missing + outcomes[RetryResult.GONE])


@app.command()
def drop(
    ids: Ids = None,
    codes: Codes = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Delete letters for good, with the messages in them."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with _client(config, broker_url) as client:
        dead, dropped = client.dead, Counter[bool]()

        def delete(letter: DeadLetter) -> None:
            dropped[bool(dead.drop([letter.id]))] += 1

        missing = _each(dead, ids, selection, everything, delete, "drop", dry_run=dry_run, yes=yes)
    if dropped:
        say(f"{dropped[True]:,} dropped")
    _say_missing(missing + dropped[False])


def _client(config: Path | None, broker_url: str | None) -> Client:
    return Client(Settings.load(config, broker_url=broker_url))


def _each(
    dead: DeadLetters,
    ids: list[str] | None,
    selection: Selection,
    everything: bool,
    act: Callable[[DeadLetter], None],
    verb: str,
    *,
    dry_run: bool,
    yes: bool,
) -> int:
    """Do something with each letter that was meant, once somebody said yes; return how many of
    those that were named are not there."""
    is_filtered = selection != Selection()
    if bool(ids) + is_filtered + everything != 1:
        raise InvalidInput(f"say which letters to {verb}: ids, or filters, or --all")
    named = _named(dead, ids) if ids else []
    missing = len(ids) - len(named) if ids else 0
    counts = Counter(letter.code for letter in named) if ids else dead.count(selection)
    say(counted(counts))
    if not counts or dry_run:
        return missing
    if not yes and not sys.stdin.isatty():
        raise InvalidInput(f"nobody is here to confirm it: say --yes to {verb} them")
    if not yes and not typer.confirm(f"{verb} {counts.total():,}?", err=True):
        raise typer.Exit(Exit.SOME_FAILED)
    for letter in named or dead.letters(selection):
        act(letter)
    return missing


def _named(dead: DeadLetters, ids: list[str]) -> list[DeadLetter]:
    found = [dead.get(letter_id) for letter_id in dict.fromkeys(ids)]
    return [letter for letter in found if letter is not None]


def _say_missing(count: int) -> None:
    if count:
        say(f"{count:,} of them {'is' if count == 1 else 'are'} not there (any more)")
        raise typer.Exit(Exit.SOME_FAILED)
