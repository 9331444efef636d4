"""`sentq dead`: list, show, retry or drop dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Annotated, Final

import typer

from sentq.admin.dead import DeadLetters, RetryResult, Selection
from sentq.cli.common import (
    AsJson,
    Broker,
    Config,
    DryRun,
    Exit,
    Yes,
    confirm,
    duration_s,
    open_client,
    say,
    wants_json,
)
from sentq.cli.dead_letters import counts_line, write_json, write_sheets, write_table
from sentq.errors import InvalidInput
from sentq.wire.dead_letters import DeadLetter

__all__ = ["app"]

_HELP: Final = """List, show, retry or drop dead letters: messages that no worker can process.

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
  malformed      it is not a message of a Celery task, or cannot be read
  unknown_task   the worker does not know its task
  worker_lost    three workers were lost with it; the last one ran it alone
  undecryptable  its texts are encrypted, and the worker could not decrypt them
  link_refused   what follows its job is not in the worker's follow_queues or follow_tasks

\b
Exit codes:
  0  done
  1  a given id does not exist, a truncated message cannot be retried, or the command was not
     confirmed
  2  a wrong option or setting; or no terminal to confirm on
  3  Redis is not available
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


Codes = Annotated[
    list[str] | None,
    typer.Option("--code", help="Only dead letters of this code. May be repeated.", metavar="CODE"),
]
OlderThan = Annotated[
    float | None,
    typer.Option(
        help="Only older dead letters: 90s, 15m, 2h, 7d.", parser=duration_s, metavar="AGE"
    ),
]
NewerThan = Annotated[
    float | None,
    typer.Option(help="Only newer dead letters.", parser=duration_s, metavar="AGE"),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of dead letters.", metavar="ID...", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]
ShowText = Annotated[bool, typer.Option("--show-text", help="Show the texts of the jobs too.")]


@app.command("list")
def list_dead_letters(
    codes: Codes = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[
        int, typer.Option(help="Show at most so many, the oldest first.", min=0)
    ] = 100,
    as_json: AsJson = None,
    show_text: ShowText = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Count the dead letters, and list them, the oldest first."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with open_client(config, broker_url) as client:
        counts = client.dead.count(selection)
        say(counts_line(counts))
        dead_letters = islice(client.dead.entries(selection), limit)
        if wants_json(as_json):
            write_json(dead_letters, texts_of=client.dead.texts if show_text else None)
        elif counts:
            write_table(dead_letters, texts_of=client.dead.texts if show_text else None)
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
    """Show all fields of dead letters."""
    with open_client(config, broker_url) as client:
        dead_letters = _named(client.dead, ids)
    write = write_json if wants_json(as_json) else write_sheets
    write(dead_letters, texts_of=client.dead.texts if show_text else None)
    _say_missing(len(ids) - len(dead_letters))


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
    """Send messages again. Their jobs keep their ids and deadlines, and are queued again."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with open_client(config, broker_url) as client:
        dead, results = client.dead, Counter[RetryResult]()

        def retry_one(dead_letter: DeadLetter) -> None:
            results[dead.retry(dead_letter)] += 1

        missing = _each(
            dead, ids, selection, everything, retry_one, "retry", dry_run=dry_run, yes=yes
        )
    if results:
        ended = results[RetryResult.ENDED]
        say(
            f"{results[RetryResult.RETRIED]:,} requeued"
            + (f"; {ended:,} dropped: their jobs had ended already" if ended else "")
        )
    if truncated := results[RetryResult.TRUNCATED]:
        say(
            f"{truncated:,} cannot be sent again: only the beginning and the end of such a large "
            "message were kept. Its sender must submit the job again"
        )
    _say_missing(missing + results[RetryResult.NOT_FOUND])
    if truncated:
        raise typer.Exit(Exit.SOME_FAILED)


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
    """Delete dead letters and their messages for good."""
    selection = Selection(tuple(codes or ()), older_than, newer_than)
    with open_client(config, broker_url) as client:
        dead, dropped = client.dead, Counter[bool]()

        def delete(dead_letter: DeadLetter) -> None:
            dropped[bool(dead.drop([dead_letter.id]))] += 1

        missing = _each(dead, ids, selection, everything, delete, "drop", dry_run=dry_run, yes=yes)
    if dropped:
        say(f"{dropped[True]:,} dropped")
    _say_missing(missing + dropped[False])


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
    """Act on each selected dead letter after a confirmation; return how many given ids do not
    exist."""
    is_filtered = selection != Selection()
    if bool(ids) + is_filtered + everything != 1:
        raise InvalidInput(f"select the dead letters to {verb}: by ids, by filters, or with --all")
    named = _named(dead, ids) if ids else []
    missing = len(ids) - len(named) if ids else 0
    counts = Counter(dead_letter.code for dead_letter in named) if ids else dead.count(selection)
    say(counts_line(counts))
    if not counts or dry_run:
        return missing
    if not yes:
        confirm(verb, counts.total())
    for dead_letter in named or dead.entries(selection):
        act(dead_letter)
    return missing


def _named(dead: DeadLetters, ids: list[str]) -> list[DeadLetter]:
    found = [dead.get(dead_letter_id) for dead_letter_id in dict.fromkeys(ids)]
    return [dead_letter for dead_letter in found if dead_letter is not None]


def _say_missing(count: int) -> None:
    if count:
        say(f"{count:,} of them {'does' if count == 1 else 'do'} not exist (any more)")
        raise typer.Exit(Exit.SOME_FAILED)
