"""The texts of a body of any size: JSON lines or CSV, one record after the other.

Of the body only the line that is not complete is kept in memory, so each line is bounded. A line
that cannot be used ends the body: everything before it has been yielded.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Final

import orjson

from sentq.contract import Limits, check_sendable
from sentq.gateway.errors import InvalidLine, InvalidRequest

__all__ = ["CSV_TYPE", "JSON_LINES_TYPES", "UPLOAD_TYPES", "texts_in"]

JSON_LINES_TYPES: Final = ("application/x-ndjson", "application/jsonl")
CSV_TYPE: Final = "text/csv"

#: What an upload may call itself.
UPLOAD_TYPES: Final = (*JSON_LINES_TYPES, CSV_TYPE)

_UTF8_MARK: Final = b"\xef\xbb\xbf"

#: A field may be as long as a line.
_MAX_FIELD_CHARS: Final = 2**31 - 1


async def texts_in(
    chunks: AsyncIterable[bytes], media_type: str, *, field: str, limits: Limits, max_bytes: int
) -> AsyncGenerator[list[str], None]:
    """Yield the texts of a body, those of each part of it together, in order.

    Args:
        chunks: The body.
        media_type: One of `UPLOAD_TYPES`.
        field: The member of each object that has the text, or the column. A line of JSON lines may
            be the text itself, too.
        limits: The limits of a text.
        max_bytes: Most bytes of a line, or of a row of CSV.

    Raises:
        InvalidLine: A line cannot be used. The texts before it were yielded.
        InvalidRequest: There is no such column.
        BodyTooSlow, MalformedRequest, ClientDisconnect: As `IncomingBody.chunks` does.
    """
    reader: _JsonLines | _CsvRows = (
        _CsvRows(field, max_bytes) if media_type == CSV_TYPE else _JsonLines(field, max_bytes)
    )
    async for chunk in chunks:
        for texts in _checked(reader.texts(chunk), limits):
            yield texts
    for texts in _checked(reader.rest(), limits):
        yield texts


def _checked(found: Iterator[tuple[int, object]], limits: Limits) -> Iterator[list[str]]:
    """Yield all texts together that may be scored; then raise the error of the first other one."""
    texts: list[str] = []
    wrong: InvalidLine | None = None
    try:
        for number, text in found:
            problem = check_sendable(text, limits)
            if isinstance(text, str) and problem is None:
                texts.append(text)
                continue
            wrong = InvalidLine(number, "no text" if problem is None else problem.message)
            break
    except InvalidLine as error:
        wrong = error
    if texts:
        yield texts
    if wrong is not None:
        raise wrong


class _JsonLines:
    """Reads JSON lines. Empty lines are left out.

    Args:
        field: The member of each object that has the text.
        max_bytes: Most bytes of a line.
    """

    def __init__(self, field: str, max_bytes: int) -> None:
        self._field = field
        self._lines = _Lines(max_bytes)

    def texts(self, chunk: bytes) -> Iterator[tuple[int, object]]:
        """Yield the values of the lines that are complete now, with the numbers of the lines."""
        return self._values(self._lines.split(chunk))

    def rest(self) -> Iterator[tuple[int, object]]:
        """Yield the value of the last line, if no line break follows it."""
        return self._values(self._lines.rest())

    def _values(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, object]]:
        for number, line in lines:
            if not line or line.isspace():
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise InvalidLine(number, "not JSON, or not UTF-8") from None
            if isinstance(value, dict):
                if self._field not in value:
                    raise InvalidLine(number, "the object does not have the member of the text")
                value = value[self._field]
            yield number, value


class _CsvRows:
    """Reads CSV (RFC 4180) with a header. A quoted field may have line breaks.

    Args:
        field: The column of the text.
        max_bytes: Most bytes of a row.
    """

    def __init__(self, field: str, max_bytes: int) -> None:
        csv.field_size_limit(_MAX_FIELD_CHARS)
        self._field = field
        self._max_bytes = max_bytes
        self._lines = _Lines(max_bytes)
        self._place: int | None = None
        self._columns = 0
        #: The lines of a row that is not complete, the number of the first, and how many bytes.
        self._row: list[bytes] = []
        self._first = 1
        self._row_bytes = 0
        self._is_quoted = False

    def texts(self, chunk: bytes) -> Iterator[tuple[int, object]]:
        """Yield the texts of the rows that are complete now, with the numbers of their lines."""
        return self._values(self._lines.split(chunk))

    def rest(self) -> Iterator[tuple[int, object]]:
        """Yield the text of the last row, if no line break follows it.

        Raises:
            InvalidLine: A quoted field does not end.
            InvalidRequest: There is no row, not even the header.
        """
        yield from self._values(self._lines.rest())
        if self._row:
            raise InvalidLine(self._first, "a quoted field does not end")
        if self._place is None:
            raise InvalidRequest("the body has no header: its first line names the columns")

    def _values(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, object]]:
        for number, line in lines:
            if not self._row:
                self._first, self._row_bytes = number, 0
            self._row.append(line)
            self._row_bytes += len(line) + 1
            if self._row_bytes > self._max_bytes:
                raise too_long(self._first, self._max_bytes)
            # Inside quotes a quote is doubled. So a row is complete where their number is even.
            if line.count(b'"') % 2:
                self._is_quoted = not self._is_quoted
            if self._is_quoted:
                continue
            row, self._row = b"\n".join(self._row), []
            fields = self._fields(row)
            if not fields:
                continue
            if self._place is None:
                self._read_header(fields)
            elif len(fields) != self._columns:
                raise InvalidLine(
                    self._first, f"{len(fields)} fields, where the header has {self._columns}"
                )
            else:
                yield self._first, fields[self._place]

    def _fields(self, row: bytes) -> list[str]:
        try:
            text = row.decode()
        except UnicodeDecodeError:
            raise InvalidLine(self._first, "not UTF-8") from None
        try:
            return next(csv.reader([text.removesuffix("\r")], strict=True), [])
        except csv.Error:
            raise InvalidLine(self._first, "not CSV") from None

    def _read_header(self, columns: list[str]) -> None:
        if self._field not in columns:
            # The columns are not named: without a header they would be a text.
            raise InvalidRequest("the CSV has no column of this name: choose one with ?field=NAME")
        self._place, self._columns = columns.index(self._field), len(columns)


class _Lines:
    """Cuts a body at its line breaks.

    Args:
        max_bytes: Most bytes of a line, and of empty lines between others: they cost time, and are
            no texts that a limit counts.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._number = 0
        self._rest = bytearray()
        self._empty_bytes = 0

    def split(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are complete now, with their numbers from 1."""
        end, line_break, rest = chunk.partition(b"\n")
        # A long line that comes in many parts is not copied for each of them.
        self._rest += end
        if line_break:
            line, self._rest = bytes(self._rest), bytearray()
            yield self._next(line)
            *lines, unfinished = rest.split(b"\n")
            for line in lines:
                yield self._next(line)
            self._rest += unfinished
        if len(self._rest) > self._max_bytes:
            raise too_long(self._number + 1, self._max_bytes)

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yield the last line, if no line break follows it."""
        if self._rest:
            yield self._next(bytes(self._rest))

    def _next(self, line: bytes) -> tuple[int, bytes]:
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(_UTF8_MARK)
        if len(line) > self._max_bytes:
            raise too_long(self._number, self._max_bytes)
        self._empty_bytes = 0 if line and not line.isspace() else self._empty_bytes + len(line) + 1
        if self._empty_bytes > self._max_bytes:
            raise InvalidLine(
                self._number, f"more than {self._max_bytes:,} bytes of empty lines (max_body_bytes)"
            )
        return self._number, line


def too_long(number: int, max_bytes: int) -> InvalidLine:
    """Return the error of a line that has too many bytes."""
    return InvalidLine(number, f"more than {max_bytes:,} bytes (max_body_bytes)")
