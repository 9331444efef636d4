"""The formats of files, by the suffixes of their names, and the errors of files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath
from types import ModuleType
from typing import Final

from sentq.errors import SentqError

__all__ = [
    "STANDARD_INPUT",
    "SUFFIXES",
    "Compression",
    "FileProblem",
    "Format",
    "MissingLibrary",
    "require_pyarrow",
]

#: The name of standard input, or standard output, on a command line.
STANDARD_INPUT: Final = "-"


class FileProblem(SentqError):
    """The file cannot be read or written, or has no such column."""


class MissingLibrary(FileProblem):
    """The format needs a library that is not installed; the message says how to install it."""


class Compression(StrEnum):
    """How a file is compressed as a whole; the value is the suffix of its name."""

    NONE = ""
    GZIP = ".gz"
    ZSTD = ".zst"

    @classmethod
    def of(cls, name: str) -> Compression:
        """Return the compression that a file's name implies."""
        suffix = PurePath(name.lower()).suffix
        return cls(suffix) if suffix in {cls.GZIP, cls.ZSTD} else cls.NONE


class Format(StrEnum):
    """The format of a file of texts."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    TXT = "txt"

    @classmethod
    def of(cls, name: str) -> Format | None:
        """Return the format that a file's name implies, or None. `.gz` or `.zst` may follow."""
        name = name.lower()
        return SUFFIXES.get(PurePath(name.removesuffix(Compression.of(name))).suffix)

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


def require_pyarrow(what: str) -> ModuleType:
    """Return the module `pyarrow`.

    Args:
        what: What needs it, such as "Parquet".

    Raises:
        MissingLibrary: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f'{error.name} is not installed, and {what} needs it: pip install "sentq[files]"'
        ) from error
    return pa  # type: ignore[no-any-return]
