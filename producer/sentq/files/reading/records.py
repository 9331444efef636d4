"""The rows of a file, one by one, in order, as the fields that a caller wants.

A row that cannot be read does not end the file: its record says what is wrong. No message quotes
the content of a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sentq.files.formats import FileProblem, Format
from sentq.files.reading.json_lines import read_json_lines
from sentq.files.reading.lines import TextLines, bad_byte, has_bad_byte
from sentq.files.reading.opening import DAMAGED, check_content, damage_of
from sentq.files.reading.parquet import ParquetRows
from sentq.files.reading.separated import SeparatedRow, read_separated, separator_of

__all__ = ["DataRecord", "check_column", "count_records", "problem_of_cells", "read_records"]

#: How many columns an error names.
_SHOWN_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class DataRecord:
    """One row of a file.

    Attributes:
        number: The row's first line or its row, counted from 1.
        unit: What `number` counts: "line" or "row".
        value: The fields by their names; in plain lines the line; in JSON lines the JSON value
            of the line, of any type.
        problem: Why the row cannot be read, or None. There is no value then.
    """

    number: int
    unit: str
    value: object
    problem: str | None = None


def read_records(
    stream: BinaryIO,
    form: Format,
    *,
    name: str,
    wanted: Collection[str],
    required: str | None = None,
) -> Iterator[DataRecord]:
    """Yield the rows of a file.

    Args:
        stream: The file, as `open_bytes` yields it; Parquet, as `open_seekable` does.
        form: Its format.
        name: Its name in errors.
        wanted: The fields that the caller uses; from Parquet, only these are read.
        required: A column without which CSV, TSV and Parquet are refused.

    Raises:
        FileProblem: The file is damaged, is of another format, has no column `required`, or is a
            JSON document in place of JSON lines.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    try:
        if form is Format.PARQUET:
            yield from _parquet(stream, name, wanted, required)
            return
        with TextLines(stream, ends="\n" if form is Format.JSONL else "any") as lines:
            check_content(lines.head, name)
            match form:
                case Format.TXT:
                    yield from _plain_lines(lines)
                case Format.JSONL:
                    for line in read_json_lines(lines, name=name):
                        yield DataRecord(line.line, "line", line.value, line.problem)
                case _:
                    yield from _separated(lines, form, name, wanted, required)
    except DAMAGED as error:
        raise FileProblem(f"cannot read {name}: {damage_of(error)}") from error


def count_records(stream: BinaryIO, form: Format, *, name: str) -> int:
    """Return how many records `read_records` yields of the same file.

    Raises:
        FileProblem: The file is damaged.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    if form is Format.JSONL:
        try:
            return sum(1 for line in stream if line.strip())
        except DAMAGED as error:
            raise FileProblem(f"cannot read {name}: {damage_of(error)}") from None
    return sum(1 for _ in read_records(stream, form, name=name, wanted=()))


def check_column(required: str | None, columns: Sequence[str]) -> None:
    """Check that there is a column.

    Raises:
        FileProblem: No column has this name; the message lists all of them.
    """
    if required is not None and required not in columns:
        named = ", ".join(columns[:_SHOWN_COLUMNS]) or "none"
        raise FileProblem(f"there is no column {required!r}; choose one with --field: {named}")


def _plain_lines(lines: TextLines) -> Iterator[DataRecord]:
    """Yield each line, empty ones too, without its line end."""
    for number, line in enumerate(lines, start=1):
        problem = bad_byte(line.text, lines.encoding, first_line=number)
        value = line.text.rstrip("\r\n") if problem is None else None
        yield DataRecord(number, "line", value, problem)


def _separated(
    lines: TextLines, form: Format, name: str, wanted: Collection[str], required: str | None
) -> Iterator[DataRecord]:
    """Yield one record per row; the first row is the header. Empty rows are skipped."""
    rows = read_separated(lines, form, separator=separator_of(form))
    header = next(rows, SeparatedRow(1, (), "")).cells
    check_column(required, header)
    if any(header.count(column) > 1 for column in wanted):
        raise FileProblem(f"{name}, line 1: two columns have the same name")
    for row in rows:
        problem = row.problem or problem_of_cells(row, header)
        fields = dict(zip(header, row.cells, strict=False))
        if problem is None and any(has_bad_byte(fields.get(each, "")) for each in wanted):
            problem = bad_byte(row.text, lines.encoding, first_line=row.line)
        if problem is not None:
            yield DataRecord(row.line, "line", None, problem)
        elif fields:
            yield DataRecord(row.line, "line", fields)


def problem_of_cells(row: SeparatedRow, header: Sequence[str]) -> str | None:
    """Return what is wrong with the number of a row's fields, or None. An empty line is right."""
    if not row.cells or len(row.cells) == len(header):
        return None
    return (
        f"{len(row.cells)} fields, where the header has {len(header)}; a text that contains the"
        " separator must be quoted (CSV), and is impossible in TSV"
    )


def _parquet(
    stream: BinaryIO, name: str, wanted: Collection[str], required: str | None
) -> Iterator[DataRecord]:
    """Yield one record per row; numbers of a ClassLabel column of `datasets` become its names."""
    rows = ParquetRows(stream, name)
    check_column(required, rows.names)
    columns = [column for column in rows.names if column in wanted]
    for number, fields in enumerate(rows.fields(columns), start=1):
        yield DataRecord(number, "row", fields)
