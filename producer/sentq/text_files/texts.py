"""The texts of a file, as `sentq score` sends them: one field of each row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sentq.contract import ErrorCode, TextError
from sentq.text_files.formats import STANDARD_INPUT, Format, open_bytes
from sentq.text_files.records import DataRecord, count_records, read_records

__all__ = ["count_texts", "read_texts"]


def read_texts(source: str, form: Format, field: str) -> Iterator[object]:
    """Yield the value of `field` in each row, of any type: the contract checks it later.

    A row that cannot be read, or has no such field, yields the `TextError` that is its outcome.

    Args:
        source: A file, or `-` for standard input.
        form: The format.
        field: The key of a JSON object, or the column of a CSV, TSV or Parquet file. Unused for
            plain lines. A line of JSON lines may be a bare value too.

    Raises:
        FileProblem: The file cannot be opened, is damaged, has no such column, or is a JSON
            document in place of JSON lines.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    with open_bytes(source) as stream:
        records = read_records(stream, form, name=source, wanted=(field,), required=field)
        for record in records:
            yield _text_of(record, field)


def count_texts(source: str, form: Format) -> int | None:
    """Return how many values `read_texts` yields; None if that cannot be known beforehand.

    A pipe can be read only once, and so is never counted.

    Raises:
        FileProblem: The file cannot be opened, or is damaged.
        MissingLibrary: Parquet needs a library that is not installed.
    """
    if source == STANDARD_INPUT or not Path(source).is_file():
        return None
    with open_bytes(source) as stream:
        return count_records(stream, form, name=source)


def _text_of(record: DataRecord, field: str) -> object:
    where = f"{record.unit} {record.number}"
    if record.problem is not None:
        return _unreadable(f"{where}: {record.problem}")
    if not isinstance(record.value, dict):
        return record.value
    return record.value.get(field, _unreadable(f"{where} has no key {field!r}"))


def _unreadable(message: str) -> TextError:
    return TextError(code=ErrorCode.UNREADABLE, message=message)
