"""Rows of CSV, TSV and plain lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sentq.files.formats import FileProblem, Format
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import Chunk, Place, RowChunk
from sentq.files.reading.lines import TextLines, bad_byte, has_bad_byte
from sentq.files.reading.opening import DAMAGED, damage_of
from sentq.files.reading.records import check_column, problem_of_cells
from sentq.files.reading.separated import SeparatedRow, read_separated, separator_of
from sentq.files.reading.sources.base import ENCODING_ADVICE, ReadOptions
from sentq.files.reading.sources.cutting import TextRow
from sentq.files.reading.sources.text_file import TextFileSource
from sentq.files.reading.texts import unreadable

__all__ = ["CellSource", "each_once"]

#: A longer first line is no header.
_LONGEST_HEADER_CHARS: Final = 10_000

#: What may stand between fields in place of the separator, and how a message calls it.
_SEPARATORS: Final = ((";", "';'"), ("\t", "a tab"), ("|", "'|'"), (",", "','"))


class CellSource(TextFileSource):
    """A `RowSource` of CSV, TSV or plain lines; these have one column.

    Raises:
        FileProblem: A file cannot be read, has no column of texts or several ones, has a column
            that will be added, or has other columns than the first file.
    """

    def __init__(
        self, files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns
    ) -> None:
        super().__init__(files, options, outcomes)
        self._header: Sequence[str] = ()
        self._names: Sequence[str] = ()
        for file in files if self.is_regular else ():
            with self.open(file) as opened:
                self._begin(opened.lines, file)

    def text_rows(self, lines: TextLines, file: str) -> Iterator[TextRow]:
        """See `TextFileSource`."""
        rows = self._begin(lines, file)
        place = self._header.index(self.options.field)
        for row in rows:
            problem = row.problem or problem_of_cells(row, self._header)
            if problem is not None:
                yield TextRow(unreadable(f"line {row.line}", problem), None, len(row.text))
            elif row.cells:
                text: object = row.cells[place]
                if has_bad_byte(row.cells[place]):
                    where = bad_byte(row.text, lines.encoding, first_line=row.line)
                    text = unreadable(f"line {row.line}", f"{where}{ENCODING_ADVICE}")
                yield TextRow(text, row.cells, len(row.text))

    def chunk(self, rows: list[TextRow], end: Place, share: float | None) -> Chunk:
        """See `TextFileSource`."""
        return RowChunk(
            texts=[row.text for row in rows],
            end=end,
            share=share,
            names=self._names,
            rows=[row.columns for row in rows],
        )

    def _begin(self, lines: TextLines, file: str) -> Iterator[SeparatedRow]:
        """Read the header of a file, and return its other rows."""
        form = self.options.form
        if form is Format.TXT:
            self._set_header([self.options.field])
            return _plain_rows(lines)
        rows = read_separated(lines, form, separator=separator_of(form, self.options.separator))
        try:
            header = next(rows, SeparatedRow(1, (), ""))
        except DAMAGED as error:
            raise FileProblem(f"cannot read {file}: {damage_of(error)}") from error
        if header.problem is not None:
            raise FileProblem(f"{file}, line {header.line}, the header: {header.problem}")
        if not self._names:
            self._check_header(header.cells, file)
            self._set_header(header.cells)
        elif header.cells != self._header:
            raise FileProblem(
                f"{file} has other columns than {self.files[0]}: score them one by one"
            )
        return rows

    def _check_header(self, header: Sequence[str], file: str) -> None:
        field = self.options.field
        if len(header) == 1 and field not in header and len(header[0]) < _LONGEST_HEADER_CHARS:
            for separator, name in _SEPARATORS:
                if field in header[0].split(separator):
                    raise FileProblem(f"{file} has {name} between its fields: --separator names it")
        if any("\0" in name for name in header):
            raise FileProblem(
                f"{file} has NUL characters in its header: is it UTF-16? --encoding utf-16-le"
            )
        check_column(field, header)
        if header.count(field) > 1:
            raise FileProblem(
                f"{file} has {header.count(field)} columns named {field!r}: rename those that do "
                "not have the text"
            )

    def _set_header(self, header: Sequence[str]) -> None:
        self.outcomes.check(header)
        self._header = header
        self._names = each_once(header)


def each_once(names: Sequence[str]) -> tuple[str, ...]:
    """Return names so that each is there once: a second `a` is `a_2`."""
    found: dict[str, None] = {}
    for name in names:
        unique, number = name, 1
        while unique in found or (number > 1 and unique in names):
            number += 1
            unique = f"{name}_{number}"
        found[unique] = None
    return tuple(found)


def _plain_rows(lines: TextLines) -> Iterator[SeparatedRow]:
    for number, line in enumerate(lines, start=1):
        yield SeparatedRow(number, (line.text.rstrip("\r\n"),), line.text)
