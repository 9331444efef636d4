"""The rows of a file, one by one, in order. The rules of a format stand at its function.

A row that cannot be read does not end the file: its record says what is wrong. No message quotes
the content of a row.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson

from sentq.text_files.formats import FileProblem, Format, MissingLibrary

__all__ = ["DataRecord", "count_records", "read_records"]

#: A CSV field may be as long as a text; the csv module stops at 131,072 by default.
_MAX_CSV_FIELD_CHARS: Final = 2**31 - 1

_ROWS_PER_PARQUET_BATCH: Final = 4096

#: How many columns an error names.
_SHOWN_COLUMNS: Final = 20

_UTF8_MARK: Final = b"\xef\xbb\xbf"


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
        stream: The file, as `open_bytes` yields it. Bytes that are not UTF-8 become lone
            surrogates in plain lines, CSV and TSV.
        form: Its format.
        name: Its name in errors.
        wanted: The fields that the caller uses; from Parquet, only these are read.
        required: A column without which CSV, TSV and Parquet are refused.

    Raises:
        FileProblem: The file is damaged, has no column `required`, or is a JSON document in place
            of JSON lines.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    try:
        match form:
            case Format.TXT:
                yield from _plain_lines(stream)
            case Format.JSONL:
                yield from _json_lines(stream, name)
            case Format.PARQUET:
                yield from _parquet(stream, name, wanted, required)
            case Format.CSV | Format.TSV:
                yield from _separated(stream, form, name, wanted, required)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise FileProblem(f"cannot read {name}: {reason or 'damaged gzip file'}") from error


def count_records(stream: BinaryIO, form: Format, *, name: str) -> int:
    """Return how many records `read_records` yields of the same file.

    Raises:
        FileProblem: The file is damaged.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    if form is Format.JSONL:
        try:
            return sum(1 for line in stream if line.strip())
        except (OSError, EOFError, zlib.error):
            raise FileProblem(f"cannot read {name}: damaged gzip file") from None
    return sum(1 for _ in read_records(stream, form, name=name, wanted=()))


def _plain_lines(stream: BinaryIO) -> Iterator[DataRecord]:
    """Yield each line, empty ones too, without its line end."""
    with _text(stream) as lines:
        for number, line in enumerate(lines, start=1):
            yield DataRecord(number, "line", line.rstrip("\r\n"))


def _json_lines(stream: BinaryIO, name: str) -> Iterator[DataRecord]:
    """Yield the JSON value of each line; empty lines are skipped."""
    is_first = True
    for number, line in enumerate(stream, start=1):
        written = line.removeprefix(_UTF8_MARK).strip() if number == 1 else line.strip()
        if not written:
            continue
        if is_first and (written[:1] == b"[" or written == b"{"):
            raise FileProblem(
                f"{name}, line {number}: a JSON document, not JSON lines; write one object on each "
                "line: jq -c '.[]' does that with an array"
            )
        is_first = False
        try:
            yield DataRecord(number, "line", orjson.loads(written))
        except orjson.JSONDecodeError:
            yield DataRecord(number, "line", None, "not valid JSON in UTF-8")


def _separated(
    stream: BinaryIO, form: Format, name: str, wanted: Collection[str], required: str | None
) -> Iterator[DataRecord]:
    """Yield one record per row; the first row is the header. Empty rows are skipped.

    CSV follows RFC 4180: fields with commas or line ends are quoted. TSV follows IANA's
    text/tab-separated-values: a quote is an ordinary character. The published TSV files of GLUE
    have unpaired quotes, which would otherwise join all following lines to one field.
    """
    rows = _separated_rows(stream, is_tsv=form is Format.TSV)
    _, first = next(rows, (1, []))
    header = first or []
    _check_column(required, header)
    if any(header.count(column) > 1 for column in wanted):
        raise FileProblem(f"{name}, line 1: two columns have the same name")
    for number, row in rows:
        if row is None:
            yield DataRecord(number, "line", None, "not valid CSV; is a quote left open?")
        elif not row:
            continue
        elif len(row) != len(header):
            yield DataRecord(
                number,
                "line",
                None,
                f"{len(row)} fields, where the header has {len(header)};"
                " a text that contains the separator must be quoted (CSV), and is impossible in"
                " TSV",
            )
        else:
            yield DataRecord(number, "line", dict(zip(header, row, strict=True)))


def _separated_rows(stream: BinaryIO, *, is_tsv: bool) -> Iterator[tuple[int, list[str] | None]]:
    """Yield each row with the number of its first line; None for a row that is not valid CSV."""
    csv.field_size_limit(_MAX_CSV_FIELD_CHARS)
    with _text(stream) as lines:
        rows = csv.reader(
            lines,
            delimiter="\t" if is_tsv else ",",
            quoting=csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL,
            strict=True,
        )
        while True:
            first_line = rows.line_num + 1
            try:
                yield first_line, next(rows)
            except StopIteration:
                return
            except csv.Error:
                yield first_line, None


def _text(stream: BinaryIO) -> io.TextIOWrapper:
    # newline="": the csv module needs unchanged line ends inside quotes.
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _check_column(required: str | None, columns: Sequence[str]) -> None:
    if required is not None and required not in columns:
        named = ", ".join(columns[:_SHOWN_COLUMNS]) or "none"
        raise FileProblem(f"there is no column {required!r}; choose one with --field: {named}")


def _parquet(
    stream: BinaryIO, name: str, wanted: Collection[str], required: str | None
) -> Iterator[DataRecord]:
    """Yield one record per row; numbers of a ClassLabel column of `datasets` become its names."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f'{error.name} is not installed, and Parquet needs it: pip install "sentq[parquet]"'
        ) from error
    if not stream.seekable():
        raise FileProblem("Parquet cannot be read from a pipe: name the file")
    try:
        with parquet.ParquetFile(stream) as file:
            schema = file.schema_arrow
            _check_column(required, schema.names)
            classes = _class_names(schema.metadata or {})
            columns = [column for column in schema.names if column in wanted]
            batches = file.iter_batches(batch_size=_ROWS_PER_PARQUET_BATCH, columns=columns)
            rows = (row for batch in batches for row in _parquet_rows(batch))
            for number, fields in enumerate(rows, start=1):
                for column in classes.keys() & fields.keys():
                    fields[column] = _class_name(fields[column], classes[column])
                yield DataRecord(number, "row", fields)
    except OSError as error:
        reason = error.strerror or "damaged Parquet file"
        raise FileProblem(f"cannot read {name}: {reason}") from None
    except (pa.ArrowException, UnicodeDecodeError):
        # The messages of these errors may quote the content.
        raise FileProblem(f"cannot read {name}: damaged Parquet file") from None


def _parquet_rows(batch: Any) -> Iterator[dict[str, object]]:
    # Without columns, `to_pylist` has no rows.
    return iter(batch.to_pylist() if batch.num_columns else ({} for _ in range(batch.num_rows)))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the class names of each ClassLabel column, from the metadata of `datasets`."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: list(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _class_name(value: object, names: Sequence[str]) -> object:
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return None  # `datasets` marks unlabelled rows by -1
