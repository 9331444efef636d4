"""What `sentq score` and `sentq-worker score` have in common: options, the run, what is said of it.

The two differ in what scores the texts, which each of them gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from sentq.errors import SentqError
from sentq.files.formats import STANDARD_INPUT, FileProblem, Format
from sentq.files.inputs import find_files, format_of
from sentq.files.outcomes import DEFAULT_PREFIX, OutcomeColumns
from sentq.files.reading.lines import check_encoding
from sentq.files.reading.source import (
    ROWS_PER_CHUNK,
    FileSource,
    ReadOptions,
    RowSource,
    TextSource,
)
from sentq.files.run.manifest import RunChanged
from sentq.files.run.run import FileRun
from sentq.files.run.scoring import TextScoring
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import ProgressKind, RunFigures, RunWatch, watch_of
from sentq.files.writing.output import Output
from sentq.files.writing.parts import part_writer
from sentq.rendering import printable

__all__ = [
    "ColumnsOption",
    "EncodingOption",
    "FieldOption",
    "FormatOption",
    "OutFormatOption",
    "PrefixOption",
    "ProgressOption",
    "RestartOption",
    "RowsPerPartOption",
    "RunRequest",
    "SeparatorOption",
    "run_files",
]

#: The exit code of a command that Ctrl-C has ended.
_INTERRUPTED: Final = 130

FieldOption = Annotated[
    str | None,
    typer.Option(
        help='The JSON key or the column that holds the text (default: "text").',
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Format of the input (default: by its name).")
]
OutFormatOption = Annotated[
    Format | None, typer.Option(help="Format of the output (default: by its name).")
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        help="Encoding of the input, such as latin-1 (default: UTF-8, or what a byte order mark "
        "says).",
        metavar="NAME",
    ),
]
SeparatorOption = Annotated[
    str | None,
    typer.Option(help="Character between the fields of a CSV input.", metavar="CHARACTER"),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Columns to add, separated by commas: label, score, scores, sentiment, tokens, "
        "windows, error, message (default: label,score,sentiment,error,message).",
        metavar="NAMES",
    ),
]
PrefixOption = Annotated[
    str, typer.Option(help="What the names of added columns begin with.", metavar="TEXT")
]
RowsPerPartOption = Annotated[
    int,
    typer.Option(
        min=1, help="Rows of a part: what is lost at most if the process is killed.", metavar="N"
    ),
]
RestartOption = Annotated[
    bool,
    typer.Option(
        "--restart",
        "--force",
        help="Begin anew: discard the parts of an earlier run, and overwrite the output.",
    ),
]
ProgressOption = Annotated[
    ProgressKind,
    typer.Option(help="How to show the progress; auto is a bar on a terminal, else nothing."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a command is asked to do.

    Attributes:
        inputs: Files, patterns, folders, or `-`; or texts.
        are_texts: Whether the inputs are texts.
        out: The output.
        program: The name of the command, for messages.
    """

    inputs: Sequence[str]
    out: str
    program: str
    are_texts: bool = False
    field: str | None = None
    form: Format | None = None
    encoding: str | None = None
    separator: str | None = None
    columns: str | None = None
    prefix: str = DEFAULT_PREFIX
    out_form: Format | None = None
    rows_per_part: int = ROWS_PER_CHUNK
    restart: bool = False
    progress: ProgressKind = ProgressKind.AUTO


def run_files(
    request: RunRequest, open_scoring: Callable[[], TextScoring], console: Console
) -> RunTally:
    """Score the input of a request, and write the output.

    Args:
        request: What to do.
        open_scoring: Returns what scores the texts. It is called only if some are left.
        console: For progress, messages and the summary.

    Returns:
        The counts of all rows.

    Raises:
        FileProblem: The input or the output is not possible, as the message says.
        RunChanged: The parts that exist are of another input, other options or another model.
        SentqError: What the scoring raises.
        typer.Exit: Ctrl-C has ended the run. The parts are kept.
    """
    columns = OutcomeColumns.parse(request.columns, request.prefix)
    source, form = _source(request, columns)
    output = Output.parse(request.out, request.out_form, of_input=form)
    if isinstance(source, _Deferred):
        source = source.open(needs_columns=output.form is not Format.JSONL)
    watch = watch_of(request.progress, console)
    run = FileRun(
        source=source,
        writer=part_writer(output.form, output.compression, columns),
        output=output,
        options={
            "--field": request.field,
            "--format": form.value,
            "--encoding": request.encoding,
            "--separator": request.separator,
            "--columns": ",".join(columns.parts),
            "--prefix": columns.prefix,
            "--out-format": output.form.value,
            "--rows-per-part": request.rows_per_part,
        },
        restart=request.restart,
        watch=watch,
    )
    began_cpu_s = time.process_time()
    with _resumable(watch, output, request.program, console):
        tally = run.score(open_scoring)
    core_s = time.process_time() - began_cpu_s
    _summarise(tally, watch.figures, core_s, output, request, console)
    return tally


@dataclass(frozen=True, slots=True)
class _Deferred:
    """A source of files that is opened once the format of the output is known."""

    files: Sequence[str]
    form: Format
    request: RunRequest
    columns: OutcomeColumns

    def open(self, *, needs_columns: bool) -> RowSource:
        request = self.request
        options = ReadOptions(
            form=self.form,
            field=request.field or "text",
            encoding=request.encoding,
            separator=request.separator,
            needs_columns=needs_columns,
            rows_per_chunk=request.rows_per_part,
        )
        return FileSource(self.files, options, self.columns)


def _source(request: RunRequest, columns: OutcomeColumns) -> tuple[RowSource | _Deferred, Format]:
    if request.are_texts:
        return TextSource(request.inputs), Format.TXT
    files = find_files(request.inputs)
    form = format_of(files, request.form)
    _check_options(request, form)
    if request.out != STANDARD_INPUT:
        _check_not_input(request.out, files)
    return _Deferred(files, form, request, columns), form


def _check_options(request: RunRequest, form: Format) -> None:
    """Check that options fit each other.

    Raises:
        FileProblem: They do not.
    """
    if request.field is not None and not form.has_columns:
        raise FileProblem(
            "--field needs rows with fields, and plain lines have none: say --format jsonl, csv, "
            "tsv or parquet"
        )
    if request.encoding is not None:
        check_encoding(request.encoding)
        if form is Format.PARQUET:
            raise FileProblem("--encoding does not go with Parquet, which says it itself")
    if request.separator is not None:
        if form is not Format.CSV:
            raise FileProblem("--separator is for CSV")
        if len(request.separator) != 1 or request.separator in '"\r\n':
            raise FileProblem("--separator takes one character, such as ';'")


def _check_not_input(out: str, files: Sequence[str]) -> None:
    path = Path(out)
    for file in files:
        if file != STANDARD_INPUT and path.exists() and path.samefile(file):
            raise FileProblem(f"{out} is the input: write the outcomes to another file")


@contextmanager
def _resumable(watch: RunWatch, output: Output, program: str, console: Console) -> Iterator[None]:
    """Show the progress in the block; if the run does not end, say how to go on."""
    try:
        with watch:
            yield
    except KeyboardInterrupt:
        _say(console, program, f"stopped after {watch.figures.rows:,} rows{_how_to_go_on(output)}")
        raise typer.Exit(_INTERRUPTED) from None
    except RunChanged:
        raise
    except SentqError:
        if watch.figures.rows:
            _say(
                console, program, f"ended after {watch.figures.rows:,} rows{_how_to_go_on(output)}"
            )
        raise


def _how_to_go_on(output: Output) -> str:
    if output.is_stream:
        return ""
    return f"; the same command goes on from the parts in {output.staging}"


def _say(console: Console, program: str, line: str) -> None:
    console.print(f"{program}: {printable(line)}", markup=False, soft_wrap=True)


def _summarise(
    tally: RunTally,
    figures: RunFigures,
    core_s: float,
    output: Output,
    request: RunRequest,
    console: Console,
) -> None:
    median, p95 = tally.length_at(0.5), tally.length_at(0.95)
    if request.progress is ProgressKind.JSON:
        fields = {
            "event": "summary",
            "output": str(output),
            "rows": tally.rows,
            "labels": dict(tally.labels),
            "errors": dict(tally.errors),
            "median_chars": median,
            "p95_chars": p95,
            "seconds": round(figures.elapsed_s, 3),
            "rows_per_s": round(figures.rows_per_s, 1),
            "core_s": round(core_s, 3),
        }
        console.file.write(orjson.dumps(fields).decode() + "\n")
        return
    if request.progress is ProgressKind.NONE:
        return
    labels = ", ".join(f"{count:,} {label}" for label, count in tally.labels.most_common())
    errors = ", ".join(f"{count:,} {code}" for code, count in tally.errors.most_common())
    _say(console, request.program, f"{tally.rows:,} rows in {output}: {labels or 'no label'}")
    if errors:
        _say(console, request.program, f"{tally.failures:,} could not be scored: {errors}")
    _say(
        console,
        request.program,
        f"{figures.rows_per_s:,.0f} rows a second, {core_s:,.1f} core-seconds of this process; "
        f"texts of {median or 0:,} characters in the median, {p95 or 0:,} at the 95th percentile",
    )
