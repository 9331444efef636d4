"""`sentq score`: score texts, a file or standard input; write a table or JSON lines."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from sentq.cli.common import Broker, Config, Exit, notes, say
from sentq.cli.waiting import WaitNotices
from sentq.client import Client
from sentq.contract import Outcome, TextError
from sentq.rendering import JsonLines, Presenter, Table, progress_bar
from sentq.settings import Settings
from sentq.text_files import FileProblem, Format, count_rows, open_texts, read_texts

__all__ = ["HELP", "score"]

#: How long the outcome of a text on the command line may take by default, in seconds: longer than
#: a worker needs to start.
_TIMEOUT_OF_TEXTS_S: Final = 60.0

HELP: Final = """Score texts, a file of texts, or standard input.

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
  3  Redis is not available
  4  no outcome in time
  5  no capacity for more jobs in time
"""


def score(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|FILE|-",
            help="Texts; or one .jsonl, .csv or .txt file; or - for standard input.",
            show_default=False,
        ),
    ],
    field: Annotated[
        str, typer.Option(help="The JSON key or CSV column that holds the text.")
    ] = "text",
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the input (default: by the file's name, else txt)."
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
        typer.Option(
            "--timeout",
            min=0,
            help="Seconds to wait for each job at most, 0 for no limit (default: 60 for texts, no "
            "limit for a file).",
            metavar="SECONDS",
            show_default=False,
        ),
    ] = None,
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Score only on the worker's machine.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="An idempotency key of the whole input: the same command again, after an "
            "interruption, sends only what is missing.",
            metavar="KEY",
        ),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    settings = Settings.load(config, broker_url=broker_url)
    source = _source(texts, form)
    with Client(settings) as client, _destination(output) as stream:
        if as_json is None:
            as_json = output is not None or not stream.isatty()
        presenter = JsonLines(stream, with_text=with_text) if as_json else Table(stream)
        if timeout_s is None and source is None:
            timeout_s = _TIMEOUT_OF_TEXTS_S
        score_all = partial(client.map, timeout=timeout_s or None, local_only=local_only, key=key)
        if source is None:
            pairs = _scored(client, score_all, texts)
            failures = _show(presenter, pairs, total=len(texts), with_bar=False)
        else:
            name, source_format = source
            with open_texts(name) as opened:
                rows = read_texts(opened, source_format, field)
                pairs = _scored(client, score_all, rows)
                failures = _show(presenter, pairs, total=count_rows(name), with_bar=True)
    if failures:
        plural = "" if failures == 1 else "s"
        notes.print(f"sentq: {failures:,} text{plural} could not be scored", style="yellow")
        raise typer.Exit(Exit.SOME_FAILED)


def _source(texts: list[str], form: Format | None) -> tuple[str, Format] | None:
    """Return the file and its format if a file was given instead of texts."""
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
    client: Client,
    score_all: Callable[[Iterator[Any]], Iterator[Outcome]],
    texts: Iterable[object],
) -> Iterator[tuple[object, Outcome]]:
    """Yield pairs of text and outcome, in order, and say what it waits for. Memory is bounded by
    the jobs in flight."""
    sent: deque[object] = deque()
    with WaitNotices(client.backlog, say) as notices:

        def recorded() -> Iterator[Any]:
            for text in texts:
                sent.append(text)
                notices.add_text()
                yield text

        for outcome in score_all(recorded()):
            notices.add_outcome()
            yield sent.popleft(), outcome


def _show(
    presenter: Presenter,
    pairs: Iterable[tuple[object, Outcome]],
    *,
    total: int | None,
    with_bar: bool,
) -> int:
    """Write all outcomes; return how many are errors."""
    failures = 0
    with progress_bar(notes, disable=not with_bar) as progress:
        task = progress.add_task("scoring", total=total)
        for number, (text, outcome) in enumerate(pairs, start=1):
            presenter.show(number, text, outcome)
            failures += isinstance(outcome, TextError)
            progress.advance(task)
    return failures
