"""What the sources of files of text share: lines in, chunks out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sentq.files.formats import FileProblem, Format
from sentq.files.reading.chunks import Chunk, Place
from sentq.files.reading.lines import TextLines
from sentq.files.reading.opening import (
    DAMAGED,
    OpenedFile,
    check_content,
    damage_of,
    open_file,
)
from sentq.files.reading.sources.base import FileSource
from sentq.files.reading.sources.cutting import TextRow, cut, until_damage

__all__ = ["OpenedLines", "TextFileSource"]


class OpenedLines(NamedTuple):
    """The lines of an open file, and the file."""

    lines: TextLines
    file: OpenedFile


class TextFileSource(FileSource):
    """A source of files of text. What is special of a format is in a class for it."""

    def file_chunks(self, start: Place) -> Iterator[Chunk]:
        """See `FileSource`."""
        with self.open(self.files[start.file]) as opened:

            def make(rows: list[TextRow], end: Place) -> Chunk:
                share = self.share_of_bytes(start.file, opened.file.read_bytes())
                return self.chunk(rows, end, share)

            rows = until_damage(self.text_rows(opened.lines, self.files[start.file]))
            yield from cut(rows, start, make, most=self.options.rows_per_chunk)

    def no_rows(self) -> Chunk:
        """See `RowSource`."""
        return self.chunk([], self.end, 1.0)

    def text_rows(self, lines: TextLines, file: str) -> Iterator[TextRow]:
        """Yield the rows of a file."""
        raise NotImplementedError

    def chunk(self, rows: list[TextRow], end: Place, share: float | None) -> Chunk:
        """Return a chunk of rows."""
        raise NotImplementedError

    @contextmanager
    def open(self, file: str) -> Iterator[OpenedLines]:
        """Open a file.

        Raises:
            FileProblem: It cannot be read, or is no text.
        """
        options = self.options
        with open_file(file) as opened:
            try:
                lines = TextLines(
                    opened.stream,
                    encoding=options.encoding,
                    ends="\n" if options.form is Format.JSONL else "any",
                )
            except DAMAGED as error:
                raise FileProblem(f"cannot read {file}: {damage_of(error)}") from error
            with lines:
                check_content(lines.head, file)
                yield OpenedLines(lines, opened)
