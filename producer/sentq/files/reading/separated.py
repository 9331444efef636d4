"""The rows of CSV and TSV, one by one. A row that is not valid affects no other row.

CSV follows RFC 4180: fields with separators or line ends are quoted. TSV follows IANA's
text/tab-separated-values: a quote is an ordinary character. The published TSV files of GLUE have
unpaired quotes, which would otherwise join all following lines to one field.

A quote that is left open could take all other rows into one field. So if a row is not valid CSV,
only its first line is given up, and reading goes on at the second one.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sentq.files.formats import Format
from sentq.files.reading.lines import MAX_ROW_CHARS, TextLine, TextLines

__all__ = ["SeparatedRow", "read_separated", "separator_of"]

#: A field may be as long as a row; the csv module stops at 131,072 by default.
_MAX_FIELD_CHARS: Final = 2**31 - 1


class SeparatedRow(NamedTuple):
    """A row of CSV or TSV.

    Attributes:
        line: The number of its first line, from 1.
        cells: Its fields; empty for an empty line, and for a row with a problem.
        text: The row as it stands in the file, for errors only.
        problem: Why it cannot be read, or None.
    """

    line: int
    cells: Sequence[str]
    text: str
    problem: str | None = None


def separator_of(form: Format, chosen: str | None = None) -> str:
    """Return the character between the fields of a format."""
    return chosen or ("\t" if form is Format.TSV else ",")


def read_separated(lines: TextLines, form: Format, *, separator: str) -> Iterator[SeparatedRow]:
    """Yield all rows, the header and empty lines too."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    feed = _Feed(lines)
    rows = csv.reader(
        feed,
        delimiter=separator,
        quoting=csv.QUOTE_NONE if form is Format.TSV else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        first = feed.begin_row()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            text = feed.give_up_first_line()
            yield SeparatedRow(first, (), text, "not valid CSV; is a quote left open?")
        except _RowTooLong:
            text = feed.give_up_first_line()
            yield SeparatedRow(first, (), text, _too_long())
        else:
            yield SeparatedRow(first, cells, feed.row_text)


def _too_long() -> str:
    return (
        f"more than {MAX_ROW_CHARS:,} characters without the end of the row; is a quote left open?"
    )


class _RowTooLong(Exception):
    """A row has too many characters."""


class _Feed:
    """Gives lines to a `csv.reader`, and keeps those of the current row."""

    def __init__(self, lines: TextLines) -> None:
        self._lines = iter(lines)
        self._again: deque[TextLine] = deque()
        self._taken: list[TextLine] = []
        self._chars = 0
        self._next_line = 1

    def begin_row(self) -> int:
        """Begin a row; return the number of its first line."""
        self._next_line += len(self._taken)
        self._taken.clear()
        self._chars = 0
        return self._next_line

    @property
    def row_text(self) -> str:
        """The lines of the current row."""
        return "".join([line.text for line in self._taken])

    def give_up_first_line(self) -> str:
        """End the current row after its first line, and return that. Others are read again."""
        self._again.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]
        return self.row_text

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        self._chars += len(line.text)
        if line.is_cut or self._chars > MAX_ROW_CHARS:
            raise _RowTooLong
        return line.text
