"""The texts of a file, without its other columns: one field of each row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from sentq.contract import ErrorCode, TextError
from sentq.files.formats import STANDARD_INPUT, Format
from sentq.files.reading.opening import open_bytes, open_seekable
from sentq.files.reading.records import DataRecord, count_records, read_records

__all__ = ["count_texts", "open_for", "read_texts", "unreadable"]


def read_texts(source: str, form: Format, field: str) -> Iterator[object]:
    """Yield the value of `field` in each row, of any type: the contract checks it later.

    A row that cannot be read, or has no such field, yields the `TextError` that is its outcome.

    Args:
        source: A file, or `-` for standard input.
        form: The format.
        field: The key of a JSON object, or the column of a CSV, TSV or Parquet file. Unused for
            plain lines. A line of JSON lines may be a bare value too.

    Raises:
        FileProblem: The file cannot be opened, is damaged, is of another format, has no such
            column, or is a JSON document in place of JSON lines.
        MissingLibrary: Parquet or zstd needs a library that is not installed.
    """
    with open_for(source, form) as stream:
        records = read_records(stream, form, name=source, wanted=(field,), required=field)
        for record in records:
            yield _text_of(record, field)


def count_texts(source: str, form: Format) -> int | None:
    """Return how many values `read_texts` yields; None if that cannot be known beforehand.

    A pipe can be read only once, and so is never counted.

    Raises:
        FileProblem: The file cannot be opened, or is damaged.
        MissingLibrary: Parquet or zstd needs a library that is not installed.
    """
    if source == STANDARD_INPUT or not Path(source).is_file():
        return None
    with open_for(source, form) as stream:
        return count_records(stream, form, name=source)


def open_for(source: str, form: Format) -> AbstractContextManager[BinaryIO]:
    """Open a file as the readers of its format need it."""
    return open_seekable(source) if form is Format.PARQUET else open_bytes(source)


def unreadable(place: str, problem: str) -> TextError:
    """Return the outcome of a row that cannot be read."""
    return TextError(code=ErrorCode.UNREADABLE, message=f"{place}: {problem}")


def _text_of(record: DataRecord, field: str) -> object:
    where = f"{record.unit} {record.number}"
    if record.problem is not None:
        return unreadable(where, record.problem)
    if not isinstance(record.value, dict):
        return record.value
    return record.value.get(field, unreadable(where, f"no key {field!r}"))
