"""The formats of files, by the suffixes of their names; and files opened as bytes."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, cast

from sentq.errors import SentqError

__all__ = ["STANDARD_INPUT", "SUFFIXES", "FileProblem", "Format", "MissingLibrary", "open_bytes"]

#: The name of standard input on a command line.
STANDARD_INPUT: Final = "-"


class FileProblem(SentqError):
    """The file cannot be read, or has no such column."""


class MissingLibrary(FileProblem):
    """The format needs a library that is not installed; the message says how to install it."""


class Format(StrEnum):
    """The format of a file of texts."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    TXT = "txt"

    @classmethod
    def of(cls, name: str) -> Format | None:
        """Return the format that a file's name implies, or None. `.gz` may follow the suffix."""
        name = name.lower()
        form = SUFFIXES.get(Path(name.removesuffix(".gz")).suffix)
        return None if form is cls.PARQUET and name.endswith(".gz") else form

    @property
    def has_columns(self) -> bool:
        """Whether a row has named fields."""
        return self is not Format.TXT


#: The format of each known suffix.
SUFFIXES: Final = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
    ".txt": Format.TXT,
}


@contextmanager
def open_bytes(source: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for `-`. A file whose name ends in .gz is decompressed.

    Raises:
        FileProblem: It cannot be opened.
    """
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        opened = gzip.open if source.lower().endswith(".gz") else open
        stream = cast("BinaryIO", opened(source, "rb"))
    except OSError as error:
        raise FileProblem(f"cannot read {source}: {error.strerror or error}") from error
    with stream:
        yield stream
