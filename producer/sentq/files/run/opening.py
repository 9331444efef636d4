"""What a run needs before it begins: its rows, its output, and whether all options fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

from sentq.files.formats import STANDARD_INPUT, FileProblem, Format
from sentq.files.inputs import find_files, format_of
from sentq.files.outcomes import OutcomeColumns
from sentq.files.postgresql.address import names_database, require_psycopg
from sentq.files.reading.lines import check_encoding
from sentq.files.reading.sources import ReadOptions, RowSource, TextSource, open_source
from sentq.files.run.options import RunRequest
from sentq.files.run.reporting import check_report, write_report
from sentq.files.run.run import FileRun
from sentq.files.run.scoring import TextScoring
from sentq.files.run.tally import RunTally
from sentq.files.run.watch import RunWatch
from sentq.files.writing.output import Output
from sentq.files.writing.parts import part_writer

__all__ = ["OpenedRun", "open_run"]


class _AnyRun(Protocol):
    """A run to a file, or to a table."""

    def score(self, open_scoring: Callable[[], TextScoring]) -> RunTally:
        """Score all rows that no earlier run has scored."""


class OpenedRun(NamedTuple):
    """A run that can begin.

    Attributes:
        run: The run.
        output: Where the rows will be, for the summary.
        how: How to go on with it after it has ended early.
        remarks: Returns what the summary does not say.
        finish: Does what is left after the run.
    """

    run: _AnyRun
    output: str
    how: str
    remarks: Callable[[], Sequence[str]]
    finish: Callable[[], None]


def open_run(
    request: RunRequest, columns: OutcomeColumns, watch: RunWatch, stack: ExitStack
) -> OpenedRun:
    """Return the run that a request asks for.

    Args:
        request: What to do.
        columns: The columns of outcomes.
        watch: Is told of the progress.
        stack: Closes what stays open during the run.

    Raises:
        FileProblem: The input or the output is not possible, as the message says.
        DatabaseUnavailable: The database does not answer.
    """
    if names_database(request.out):
        return _open_table_run(request, columns, watch, stack)
    if request.out_table is not None:
        raise FileProblem("--out-table goes with the URL of a database as the output")
    if _reads_database(request):
        return _open_run_of_table(request, columns, watch, stack)
    files, form = _find_input(request)
    output = Output.parse(request.out, request.out_form, of_input=form)
    source = _open_source(request, files, form, output, columns)
    return _to_file(request, columns, watch, source, output, form.value)


def _reads_database(request: RunRequest) -> bool:
    if not request.are_texts and any(map(names_database, request.inputs)):
        require_psycopg()
        return True
    if request.in_table is not None or request.key_column is not None:
        raise FileProblem("--in-table and --key-column go with the URL of a database as the input")
    return False


def _open_table_run(
    request: RunRequest, columns: OutcomeColumns, watch: RunWatch, stack: ExitStack
) -> OpenedRun:
    """Return a run from a table to columns of a table."""
    if not _reads_database(request):
        raise FileProblem("an output in a database needs an input in a database")
    from sentq.files.run.table_run import open_table_run

    run = open_table_run(request, columns, watch, stack)
    how = "; the same command goes on after them"
    return OpenedRun(run, str(run.target), how, run.remarks, lambda: None)


def _open_run_of_table(
    request: RunRequest, columns: OutcomeColumns, watch: RunWatch, stack: ExitStack
) -> OpenedRun:
    """Return a run from a table to a file."""
    from sentq.files.run.table_run import DATABASE, open_rows, remark_on_rows

    output = Output.parse(request.out, request.out_form, of_input=Format.JSONL)
    source = open_rows(
        request, columns, stack, reads_all=True, for_arrow=output.form is Format.PARQUET
    )
    opened = _to_file(request, columns, watch, source, output, DATABASE)
    return opened._replace(remarks=lambda: remark_on_rows(source, watch.figures.rows))


def _to_file(
    request: RunRequest,
    columns: OutcomeColumns,
    watch: RunWatch,
    source: RowSource,
    output: Output,
    form: str,
) -> OpenedRun:
    """Return a run to a file, a folder or a stream."""
    check_report(request, source, output, columns)
    run = FileRun(
        source=source,
        writer=part_writer(output.form, output.compression, columns),
        output=output,
        options={
            **request.output_options(form, columns),
            "--encoding": request.encoding,
            "--separator": request.separator,
            "--out-format": output.form.value,
            "--rows-per-part": request.rows_per_part,
        },
        restart=request.restart,
        watch=watch,
    )
    how = (
        "" if output.is_stream else f"; the same command goes on from the parts in {output.staging}"
    )
    return OpenedRun(
        run, str(output), how, lambda: (), lambda: write_report(request, output, columns)
    )


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
