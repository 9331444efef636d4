"""What a source of rows is, and what the sources of files share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sentq.files.formats import Format
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import Chunk, Place
from sentq.files.reading.opening import digest_of, is_regular_file

__all__ = [
    "BYTES_PER_CHUNK",
    "ENCODING_ADVICE",
    "ROWS_PER_CHUNK",
    "FileSource",
    "ReadOptions",
    "RowSource",
]

#: The largest chunk: rows by default, and bytes of the rows as they were read.
ROWS_PER_CHUNK: Final = 8192
BYTES_PER_CHUNK: Final = 16 * 1024 * 1024

ENCODING_ADVICE: Final = "; --encoding names another encoding, such as latin-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How input files are read.

    Attributes:
        form: The format of all of them.
        field: The key or column that holds the text.
        encoding: The encoding of texts; None for UTF-8, or what a byte order mark says.
        separator: The character between fields; None for that of the format.
        needs_columns: Whether the columns must be known beforehand, also of JSON lines.
        rows_per_chunk: Most rows of a chunk.
    """

    form: Format
    field: str = "text"
    encoding: str | None = None
    separator: str | None = None
    needs_columns: bool = False
    rows_per_chunk: int = ROWS_PER_CHUNK


class RowSource(Protocol):
    """The rows of an input."""

    @property
    def rows(self) -> int | None:
        """How many rows there are; None if that is not known beforehand."""

    def digests(self) -> list[dict[str, object]] | None:
        """Return what identifies the input: size and digest of each file. None for an input that
        can be read only once."""

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """Yield the rows after a place that is the end of a chunk, or the beginning."""

    def no_rows(self) -> Chunk:
        """Return a chunk without rows, which has the columns."""


class FileSource:
    """The rows of files of one format, one file after the other.

    Args:
        files: Their names, or `-` for standard input.
        options: How they are read.
        outcomes: The columns that will be added.
    """

    def __init__(
        self, files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns
    ) -> None:
        self.files = files
        self.options = options
        self.outcomes = outcomes
        self.rows: int | None = None
        #: Whether each file can be read twice.
        self.is_regular = all(map(is_regular_file, files))
        self._sizes = [Path(file).stat().st_size if self.is_regular else 0 for file in files]

    def digests(self) -> list[dict[str, object]] | None:
        """See `RowSource`."""
        if not self.is_regular:
            return None
        found = [(file, *digest_of(file)) for file in self.files]
        return [
            {"name": Path(file).name, "bytes": size_bytes, "sha256": digest}
            for file, size_bytes, digest in found
        ]

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """See `RowSource`."""
        for number in range(start.file, len(self.files)):
            yield from self.file_chunks(start if number == start.file else Place(number, 0))

    def file_chunks(self, start: Place) -> Iterator[Chunk]:
        """Yield the rows of one file after a place."""
        raise NotImplementedError

    @property
    def end(self) -> Place:
        """The place after all files."""
        return Place(len(self.files), 0)

    def share(self, file: int, share_of_file: float) -> float | None:
        """Return the share of the input that ends in a file; None if that is not known.

        Args:
            file: The number of the file.
            share_of_file: The share of this file, by its bytes.
        """
        total = sum(self._sizes)
        if not total:
            return None
        return (sum(self._sizes[:file]) + share_of_file * self._sizes[file]) / total

    def share_of_bytes(self, file: int, read_bytes: int) -> float | None:
        """Return the share of the input that ends after some bytes of a file."""
        return self.share(file, min(1.0, read_bytes / max(1, self._sizes[file])))
