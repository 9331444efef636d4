"""Read texts from files: JSON lines, CSV or plain lines, one text in each row, row by row.

A row that cannot be read does not end the file: it yields a `TextError`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

import orjson

from sentq.contract import ErrorCode, TextError
from sentq.errors import SentqError

__all__ = ["FileProblem", "Format", "count_rows", "open_texts", "read_texts"]

#: A CSV field may be as long as the longest text; the csv module stops at 131,072 by default.
_MAX_CSV_FIELD_CHARS: Final = 2**31 - 1


class FileProblem(SentqError):
    """The file cannot be read, or has no such column."""


class Format(StrEnum):
    """The format of a file of texts."""

    JSONL = "jsonl"
    CSV = "csv"
    TXT = "txt"

    @classmethod
    def of(cls, name: str) -> Format | None:
        """Return the format that a file's name implies, or None."""
        suffix = Path(name).suffix.lower().removeprefix(".")
        return cls(suffix) if suffix in set(cls) else None


@contextmanager
def open_texts(source: str) -> Iterator[TextIO]:
    """Open a file, or standard input for `-`.

    Raises:
        FileProblem: It cannot be opened.
    """
    if source == "-":
        yield sys.stdin
        return
    try:
        # newline="": the csv module needs line ends inside quotes as they are.
        stream = Path(source).open(  # noqa: SIM115 - closed below; only opening is in the try
            encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
    except OSError as error:
        raise FileProblem(f"cannot read {source}: {error.strerror}") from error
    with stream:
        yield stream


def read_texts(stream: TextIO, form: Format, field: str) -> Iterator[object]:
    """Yield the value of `field` in each row, of any type: the contract checks it later.

    A row without the field yields the `TextError` that is its outcome.

    Args:
        stream: As `open_texts` yields it.
        form: The format.
        field: The key of a JSON object, or the column of a CSV file with a header. Unused for
            plain lines.

    Raises:
        FileProblem: A CSV file has no such column.
    """
    if form is Format.CSV:
        return _csv(stream, field)
    if form is Format.JSONL:
        return _jsonl(stream, field)
    return (line.rstrip("\r\n") for line in stream)


def count_rows(source: str) -> int | None:
    """Return about how many rows a file has, for a progress bar; None for standard input."""
    if source == "-":
        return None
    with Path(source).open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


def _jsonl(stream: Iterable[str], field: str) -> Iterator[object]:
    for line in stream:
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield _unreadable("this line is not JSON")
            continue
        if isinstance(row, dict):
            yield row.get(field, _unreadable(f"this line has no key {field!r}"))
        else:
            yield row


def _csv(stream: Iterable[str], field: str) -> Iterator[object]:
    csv.field_size_limit(_MAX_CSV_FIELD_CHARS)
    rows = csv.reader(stream)
    header = next(rows, [])
    if field not in header:
        columns = ", ".join(header[:20]) or "none"
        raise FileProblem(f"there is no column {field!r}; choose one with --field: {columns}")
    column = header.index(field)
    for row in rows:
        if row:
            short = _unreadable(f"this row ends before column {field!r}")
            yield row[column] if column < len(row) else short


def _unreadable(message: str) -> TextError:
    return TextError(code=ErrorCode.UNREADABLE, message=message)
