"""`sentq score`: score texts or files; show outcomes, or write them beside the other columns."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Final

import typer

from sentq.cli.common import AsJson, Broker, Config, Exit, notes, say
from sentq.cli.file_run import score_files
from sentq.cli.source import InputFile, find_source, looks_like_a_path, names_files
from sentq.cli.waiting import WaitNotices
from sentq.client import Client
from sentq.contract import Outcome, TextError
from sentq.errors import InvalidInput
from sentq.files.outcomes import DEFAULT_PREFIX
from sentq.files.postgresql.address import names_database
from sentq.files.reading.sources import ROWS_PER_CHUNK
from sentq.files.reading.texts import count_texts, read_texts
from sentq.files.run.options import (
    ColumnsOption,
    EncodingOption,
    FieldOption,
    FormatOption,
    InTableOption,
    KeyColumnOption,
    OutFormatOption,
    OutTableOption,
    PrefixOption,
    ProgressOption,
    ReportByOption,
    ReportDateOption,
    ReportOption,
    RestartOption,
    RowsPerPartOption,
    RunRequest,
    SeparatorOption,
    Split,
    SplitOption,
    split_detail,
)
from sentq.files.run.watch import ProgressKind
from sentq.rendering import JsonLines, Presenter, Table, printable, progress_bar
from sentq.settings import Settings

__all__ = ["HELP", "score"]

#: How long the outcome of a text on the command line may take by default, in seconds: longer than
#: a worker needs to start.
_TIMEOUT_OF_TEXTS_S: Final = 60.0

HELP: Final = """Score texts, files, or standard input.

\b
Examples:
  sentq score "What a lovely day"
  sentq score "Loved it." "I want my money back."
  sentq score reviews.csv --field body
  sentq score "Quel beau jour !" --model multilingual
  cat lines.txt | sentq score - | jq .label
  sentq score reviews.csv --field body --out scored.csv
  sentq score 'export/*.parquet' --field body --out scored/ --progress json
  sentq score reviews.csv --out scored.csv --report report.html --report-by product
  sentq score "Great food. Rude staff!" --split sentences
  sentq score old.csv --encoding latin-1 --separator ';' --out scored.jsonl.zst
  sentq score postgresql://app@db/shop --in-table reviews --out scored.parquet
  sentq score postgresql://app@db/shop --in-table reviews --out postgresql://app@db/shop

\b
Without --out, the outcomes are shown: a table on a terminal, JSON lines in a pipe.

\b
With --out, each row of the input is written with its other columns and sentq_label, sentq_score,
sentq_sentiment, sentq_error, sentq_message. A row that cannot be scored has an error and stays in
its place. Parts are kept in OUTPUT.parts until all is done: after Ctrl-C, or if anything failed,
the same command goes on. It refuses to mix other inputs, options or models; --restart begins anew.

\b
Files:
  The name says the format: .jsonl .ndjson .json (one object on each line), .csv, .tsv, .txt (one
  text on each line) and .parquet. All may also end in .gz or .zst. --format reads a file of any
  other name. Standard input has plain lines unless --format says otherwise. With --out, the input
  may be several files, a pattern or a folder; OUTPUT may be a folder (with a slash at its end).
  Parquet and .zst need sentq[files].

\b
Databases:
  postgresql://USER@HOST/NAME with --in-table reads a table in the order of its primary key, or of
  --key-column. The password comes from PGPASSWORD or ~/.pgpass. As OUTPUT, the same URL writes the
  outcomes to columns of the table, and --out-table to a table of their own. Needs
  sentq[postgresql].

\b
Exit codes:
  0  every text was scored
  1  some texts (or a whole job) ended in an error; the others were scored
  2  a wrong option, setting or file
  3  Redis, or the database, is not available
  4  no outcome in time
  5  no capacity for more jobs in time
  130  Ctrl-C; with --out, the same command goes on
"""


def score(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|FILE...|-",
            help="Texts; or files; or - for standard input.",
            show_default=False,
        ),
    ],
    field: FieldOption = None,
    form: FormatOption = None,
    as_text: Annotated[
        bool,
        typer.Option("--as-text", help="Score the arguments, even if files have such names."),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "--output",
            "-o",
            help="Write all rows with their outcomes to this file or folder; - is standard output.",
            metavar="OUTPUT",
        ),
    ] = None,
    out_format: OutFormatOption = None,
    encoding: EncodingOption = None,
    separator: SeparatorOption = None,
    in_table: InTableOption = None,
    key_column: KeyColumnOption = None,
    out_table: OutTableOption = None,
    split: SplitOption = Split.NONE,
    columns: ColumnsOption = None,
    prefix: PrefixOption = DEFAULT_PREFIX,
    rows_per_part: RowsPerPartOption = ROWS_PER_CHUNK,
    restart: RestartOption = False,
    progress: ProgressOption = ProgressKind.AUTO,
    report: ReportOption = None,
    report_date: ReportDateOption = None,
    report_by: ReportByOption = None,
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
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that scores the texts, of those that the workers' settings name "
            "(`worker.models`). By default a worker chooses.",
            metavar="NAME",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="An idempotency key of the whole input: the same command again, after an "
            "interruption, sends only what is missing. Not with --out, which needs none.",
            metavar="KEY",
        ),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    settings = Settings.load(config, broker_url=broker_url)
    if out is not None:
        if key is not None or as_json is not None or not with_text:
            raise InvalidInput("--key, --json, --table and --no-text do not go with --out")
        are_files = names_files(texts, form=form, field=field, as_text=as_text)
        if timeout_s is None and not are_files:
            timeout_s = _TIMEOUT_OF_TEXTS_S
        request = RunRequest(
            inputs=texts,
            are_texts=not are_files,
            out=out,
            program="sentq",
            field=field,
            form=form,
            encoding=encoding,
            separator=separator,
            in_table=in_table,
            key_column=key_column,
            out_table=out_table,
            split=split,
            columns=columns,
            prefix=prefix,
            out_form=out_format,
            rows_per_part=rows_per_part,
            restart=restart,
            progress=progress,
            report=report,
            report_date=report_date,
            report_by=report_by,
        )
        score_files(
            request, settings, timeout_s=timeout_s or None, local_only=local_only, model=model
        )
        return
    if not as_text and any(map(names_database, texts)):
        raise InvalidInput("the URL of a database goes with --out; --as-text scores it as a text")
    given = (out_format, encoding, separator, columns, restart or None, report)
    of_databases = (in_table, key_column, out_table)
    if any(each is not None for each in (*given, *of_databases)) or prefix != DEFAULT_PREFIX:
        raise InvalidInput(
            "--out-format, --encoding, --separator, --in-table, --key-column, --out-table, "
            "--columns, --prefix, --restart and --report go with --out"
        )
    source = find_source(texts, form=form, field=field, as_text=as_text)
    if source is None:
        _hint_at_missing_files(texts, as_text=as_text)
    with Client(settings) as client:
        if as_json is None:
            as_json = not sys.stdout.isatty()
        presenter = JsonLines(sys.stdout, with_text=with_text) if as_json else Table(sys.stdout)
        if timeout_s is None and source is None:
            timeout_s = _TIMEOUT_OF_TEXTS_S
        score_all = partial(
            client.map,
            timeout=timeout_s or None,
            local_only=local_only,
            detail=split_detail(split),
            key=key,
            model=model,
        )
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
