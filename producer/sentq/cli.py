"""The command `sentq`.

Results go to standard output: a table on a terminal, JSON lines in a pipe. Everything else
(progress, messages, errors) goes to standard error.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TextIO

import platformdirs
import typer
from rich.console import Console

from sentq import __version__
from sentq.client import Client
from sentq.contract import Outcome, TextError
from sentq.demo import run_demo
from sentq.embedded import NoRedisFound
from sentq.errors import (
    InvalidInput,
    JobError,
    RedisUnavailable,
    SentqError,
    SettingsError,
    WaitTimeout,
)
from sentq.present import JsonLines, Presenter, Table, progress_bar
from sentq.rows import FileProblem, Format, count_rows, open_texts, read_texts
from sentq.settings import Settings
from sentq.stack import WorkerDidNotStart, local_stack

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Score the sentiment of texts with sentq workers.",
)

_notes = Console(stderr=True, highlight=False)


class Exit(IntEnum):
    """Exit codes, as `sentq score --help` lists them."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    TIMEOUT = 4
    INTERRUPTED = 130


def main() -> None:
    """Run the command; every expected error ends in one line and an exit code."""
    try:
        app()
    except SentqError as error:
        _notes.print(f"sentq: {error}", style="red", markup=False)
        sys.exit(_exit_code(error))


def _exit_code(error: SentqError) -> Exit:
    match error:
        case SettingsError() | InvalidInput() | FileProblem() | NoRedisFound():
            return Exit.USAGE
        case RedisUnavailable():
            return Exit.UNAVAILABLE
        case WaitTimeout():
            return Exit.TIMEOUT
        case JobError():
            return Exit.SOME_FAILED
        case _:
            return Exit.UNAVAILABLE


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sentq {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score the sentiment of texts with sentq workers."""


Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings (default: what SENTQ_CONFIG names).", metavar="FILE"
    ),
]
Broker = Annotated[
    str | None,
    typer.Option("--broker-url", help="Redis to use (default: SENTQ_BROKER_URL).", metavar="URL"),
]

_SCORE_HELP = """Score texts, a file of texts, or standard input.

\b
Examples:
  sentq score "What a lovely day"
  sentq score "Loved it." "Never again."
  sentq score reviews.jsonl --field review > scores.jsonl
  sentq score reviews.csv --field body --output scores.jsonl
  cat lines.txt | sentq score -

\b
Exit codes:
  0  every text was scored
  1  some texts (or a whole job) ended in an error; the others were scored
  2  a wrong option, setting or file
  3  Redis cannot be reached
  4  no outcome in time
"""


@app.command(help=_SCORE_HELP)
def score(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|FILE|-",
            help="Texts; or one file named .jsonl, .csv or .txt; or - for standard input.",
            show_default=False,
        ),
    ],
    field: Annotated[
        str, typer.Option(help="The JSON key or CSV column that holds the text.")
    ] = "text",
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="How to read the input (default: by the file's name, else txt)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write JSON lines to this file.", metavar="FILE"),
    ] = None,
    as_json: Annotated[
        bool | None,
        typer.Option("--json/--table", help="JSON lines or a table (default: by terminal)."),
    ] = None,
    with_text: Annotated[
        bool, typer.Option("--text/--no-text", help="Repeat each text beside its scores.")
    ] = True,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", help="Seconds to wait for each job at most.", metavar="SECONDS"),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    settings = Settings.load(config, broker_url=broker_url)
    source = _source(texts, form)
    with Client(settings) as client, _destination(output) as stream:
        if as_json is None:
            as_json = output is not None or not stream.isatty()
        presenter = JsonLines(stream, with_text=with_text) if as_json else Table(stream)
        if source is None:
            pairs = _scored(client, texts, timeout_s)
            failures = _show(presenter, pairs, total=len(texts), with_bar=False)
        else:
            name, source_format = source
            with open_texts(name) as opened:
                pairs = _scored(client, read_texts(opened, source_format, field), timeout_s)
                failures = _show(presenter, pairs, total=count_rows(name), with_bar=True)
    if failures:
        plural = "" if failures == 1 else "s"
        _notes.print(f"sentq: {failures:,} text{plural} could not be scored", style="yellow")
        raise typer.Exit(Exit.SOME_FAILED)


def _source(texts: list[str], form: Format | None) -> tuple[str, Format] | None:
    """The file that was named instead of texts, if one was."""
    if len(texts) != 1:
        return None
    name = texts[0]
    if name == "-":
        return name, form or Format.TXT
    by_name = Format.of(name)
    if form is not None or (by_name is not None and (Path(name).exists() or " " not in name)):
        return name, form or by_name or Format.TXT
    return None


def _destination(output: Path | None) -> AbstractContextManager[TextIO]:
    if output is None:
        return nullcontext(sys.stdout)
    try:
        return output.open("w", encoding="utf-8")
    except OSError as error:
        raise FileProblem(f"cannot write {output}: {error.strerror}") from error


def _scored(
    client: Client, texts: Iterable[object], timeout_s: float | None
) -> Iterator[tuple[object, Outcome]]:
    """Pairs of text and outcome, in order, holding only what is in flight."""
    sent: deque[object] = deque()

    def remembered() -> Iterator[Any]:
        for text in texts:
            sent.append(text)
            yield text

    for outcome in client.map(remembered(), timeout=timeout_s):
        yield sent.popleft(), outcome


def _show(
    presenter: Presenter,
    pairs: Iterable[tuple[object, Outcome]],
    *,
    total: int | None,
    with_bar: bool,
) -> int:
    """Show all outcomes and return how many are errors."""
    failures = 0
    with progress_bar(_notes, disable=not with_bar) as progress:
        task = progress.add_task("scoring", total=total)
        for number, (text, outcome) in enumerate(pairs, start=1):
            presenter.show(number, text, outcome)
            failures += isinstance(outcome, TextError)
            progress.advance(task)
    return failures


_DEV_HELP = """Run a whole sentq in this terminal: a private Redis and a worker, until Ctrl-C.

Jobs that are queued when it stops are there again the next time.

\b
Examples:
  sentq dev
  sentq dev --redis-server ~/bin/valkey-server
  SENTQ_WORKER_MODEL=./my-model sentq dev
"""


@app.command(help=_DEV_HELP)
def dev(
    data: Annotated[
        Path | None,
        typer.Option(help="Where queued jobs are kept (default: your data folder).", metavar="DIR"),
    ] = None,
    redis_server: Annotated[
        Path | None,
        typer.Option(help="The Redis or Valkey to start (default: found).", metavar="PROGRAM"),
    ] = None,
) -> None:
    folder = data or platformdirs.user_data_path("sentq") / "dev"
    with _stoppable(), local_stack(folder, redis_server=redis_server, say=_say) as stack:
        _say("ready. In another terminal:")
        typer.echo(f"\nexport SENTQ_BROKER_URL='{stack.broker_url}'")
        typer.echo('sentq score "What a lovely day"\n')
        _say(f"the worker's log is {stack.worker_log}")
        _say("Ctrl-C stops everything; queued jobs are kept")
        code = stack.worker.wait()
        raise WorkerDidNotStart(f"the worker ended with exit code {code}: see {stack.worker_log}")


_DEMO_HELP = """Score 200 reviews with a private Redis and a worker, and show how it is done.

Leaves nothing running and nothing behind.
"""


@app.command(help=_DEMO_HELP)
def demo(
    redis_server: Annotated[
        Path | None,
        typer.Option(help="The Redis or Valkey to start (default: found).", metavar="PROGRAM"),
    ] = None,
) -> None:
    with (
        _stoppable(),
        tempfile.TemporaryDirectory(prefix="sentq-demo-") as folder,
        local_stack(Path(folder), redis_server=redis_server, say=_say) as stack,
        Client(stack.settings) as client,
    ):
        run_demo(client, notes=_notes)


@contextmanager
def _stoppable() -> Iterator[None]:
    """End the block in good order on Ctrl-C, SIGTERM and a closed terminal."""

    def stop(number: int, _: FrameType | None) -> None:
        # Only once: what is being taken down must not be interrupted in turn.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        _say("stopping")
        raise typer.Exit(Exit.OK if number == signal.SIGINT else 128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    yield


def _say(line: str) -> None:
    _notes.print(f"sentq: {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
