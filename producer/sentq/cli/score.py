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

from sentq.cli.common import AsJson, Broker, Config, Exit, notes, say
from sentq.cli.source import InputFile, find_source, looks_like_a_path
from sentq.cli.waiting import WaitNotices
from sentq.client import Client
from sentq.contract import Outcome, TextError
from sentq.rendering import JsonLines, Presenter, Table, printable, progress_bar
from sentq.settings import Settings
from sentq.text_files import FileProblem, Format, count_texts, read_texts

__all__ = ["HELP", "score"]

#: How long the outcome of a text on the command line may take by default, in seconds: longer than
#: a worker needs to start.
_TIMEOUT_OF_TEXTS_S: Final = 60.0

HELP: Final = """Score texts, a file of texts, or standard input.

\b
Examples:
  sentq score "What a lovely day"
  sentq score "Loved it." "I want my money back."
  sentq score reviews.jsonl --field review > scores.jsonl
  sentq score reviews.csv --field body --output scores.jsonl
  sentq score export.log --format txt
  cat lines.txt | sentq score -

\b
Files:
  The name says the format: .jsonl .ndjson .json (one object on each line), .csv, .tsv and .txt
  (one text on each line), all of them also with .gz, and .parquet (needs sentq[parquet]).
  --format reads a file of any other name. Standard input has plain lines unless --format says
  otherwise.

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
            help="Texts; or one file; or - for standard input.",
            show_default=False,
        ),
    ],
    field: Annotated[
        str | None,
        typer.Option(
            help='The JSON key or the column that holds the text (default: "text").',
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Format of the file (default: by its name)."),
    ] = None,
    as_text: Annotated[
        bool,
        typer.Option("--as-text", help="Score the arguments, even if files have such names."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write JSON lines to this new file.", metavar="FILE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file that --output names.")
    ] = False,
    as_json: AsJson = None,
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
    source = find_source(texts, form=form, field=field, as_text=as_text)
    if source is None:
        _hint_at_missing_files(texts, as_text=as_text)
    elif output is not None and _is_same_file(output, source.name):
        raise FileProblem(f"{output} is the input: write the outcomes to another file")
    with Client(settings) as client, _destination(output, force=force) as stream:
        if as_json is None:
            as_json = output is not None or not stream.isatty()
        presenter = JsonLines(stream, with_text=with_text) if as_json else Table(stream)
        if timeout_s is None and source is None:
            timeout_s = _TIMEOUT_OF_TEXTS_S
        score_all = partial(client.map, timeout=timeout_s or None, local_only=local_only, key=key)
        rows = texts if source is None else read_texts(source.name, source.form, source.field)
        failures = _show(presenter, _scored(client, score_all, rows), source)
    if failures:
        plural = "" if failures == 1 else "s"
        notes.print(f"sentq: {failures:,} text{plural} could not be scored", style="yellow")
        raise typer.Exit(Exit.SOME_FAILED)


def _hint_at_missing_files(texts: list[str], *, as_text: bool) -> None:
    for text in texts if not as_text else ():
        if looks_like_a_path(text):
            say(f"there is no file {printable(text)}; it is scored as a text")


def _is_same_file(output: Path, name: str) -> bool:
    source = Path(name)
    return source.is_file() and output.exists() and output.samefile(source)


def _destination(output: Path | None, *, force: bool) -> AbstractContextManager[TextIO]:
    """Open the file for the outcomes. One that has content is overwritten only with `force`."""
    if output is None:
        return nullcontext(sys.stdout)
    try:
        if not force and output.is_file() and output.stat().st_size:
            raise FileProblem(f"{output} exists already: --force overwrites it")
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
    presenter: Presenter, pairs: Iterable[tuple[object, Outcome]], source: InputFile | None
) -> int:
    """Write all outcomes; return how many are errors. Those of a file have a progress bar."""
    failures = 0
    with progress_bar(notes, disable=source is None) as progress:
        task = progress.add_task("scoring", total=None)
        if source is not None and not progress.disable:
            progress.update(task, total=count_texts(source.name, source.form))
        for number, (text, outcome) in enumerate(pairs, start=1):
            presenter.show(number, text, outcome)
            failures += isinstance(outcome, TextError)
            progress.advance(task)
    return failures
