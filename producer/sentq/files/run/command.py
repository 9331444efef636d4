"""A run as a command: from a request to an output, with progress, messages and a summary.

`sentq score` and `sentq-worker score` differ in what scores the texts, which each of them gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from sentq.errors import SentqError
from sentq.files.formats import STANDARD_INPUT, FileProblem, Format
from sentq.files.inputs import find_files, format_of
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.lines import check_encoding
from sentq.files.reading.sources import ReadOptions, RowSource, TextSource, open_source
from sentq.files.run.manifest import RunChanged
from sentq.files.run.options import RunRequest
from sentq.files.run.reporting import check_report, write_report
from sentq.files.run.run import FileRun
from sentq.files.run.scoring import TextScoring
from sentq.files.run.summary import summarise
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import RunWatch, watch_of
from sentq.files.writing.output import Output
from sentq.files.writing.parts import part_writer
from sentq.rendering import printable

__all__ = ["run_files"]

#: The exit code of a command that Ctrl-C has ended.
_INTERRUPTED: Final = 130


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

    def say(line: str) -> None:
        console.print(f"{request.program}: {printable(line)}", markup=False, soft_wrap=True)

    columns = OutcomeColumns.parse(request.columns, request.prefix)
    files, form = _find_input(request)
    output = Output.parse(request.out, request.out_form, of_input=form)
    source = _open_source(request, files, form, output, columns)
    check_report(request, source, output, columns)
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
    began_s = time.process_time()
    with _resumable(watch, output, say):
        tally = run.score(open_scoring)
    summarise(
        tally,
        watch.figures,
        core_s=time.process_time() - began_s,
        output=str(output),
        kind=request.progress,
        console=console,
        say=say,
    )
    write_report(request, output, columns)
    return tally


def _find_input(request: RunRequest) -> tuple[list[str], Format]:
    """Return the files of a request, none for texts, and their format."""
    if request.are_texts:
        return [], Format.TXT
    files = find_files(request.inputs)
    form = format_of(files, request.form)
    _check_options(request, form)
    _check_not_input(request.out, files)
    return files, form


def _open_source(
    request: RunRequest,
    files: Sequence[str],
    form: Format,
    output: Output,
    columns: OutcomeColumns,
) -> RowSource:
    if request.are_texts:
        return TextSource(request.inputs)
    options = ReadOptions(
        form=form,
        field=request.field or "text",
        encoding=request.encoding,
        separator=request.separator,
        needs_columns=output.form is not Format.JSONL,
        rows_per_chunk=request.rows_per_part,
    )
    return open_source(files, options, columns)


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
        if STANDARD_INPUT not in {out, file} and path.exists() and path.samefile(file):
            raise FileProblem(f"{out} is the input: write the outcomes to another file")


@contextmanager
def _resumable(watch: RunWatch, output: Output, say: Callable[[str], None]) -> Iterator[None]:
    """Show the progress in the block; if the run does not end, say how to go on."""
    how = (
        "" if output.is_stream else f"; the same command goes on from the parts in {output.staging}"
    )
    try:
        with watch:
            yield
    except KeyboardInterrupt:
        say(f"stopped after {watch.figures.rows:,} rows{how}")
        raise typer.Exit(_INTERRUPTED) from None
    except RunChanged:
        raise
    except SentqError:
        if watch.figures.rows:
            say(f"ended after {watch.figures.rows:,} rows{how}")
        raise
