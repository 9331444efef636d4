"""Parts of an output, in each format: a chunk with its outcomes, written to a file of its own.

The same chunk and outcomes give the same bytes. Parts of text are joined by joining their bytes,
also if they are compressed: gzip and zstd read several members as one file.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol

import orjson

from sentq.contract import Outcome
from sentq.files.formats import Compression, Format, require_pyarrow
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import Chunk
from sentq.files.reading.separated import separator_of
from sentq.files.values import as_cell, valid_text

__all__ = ["PartWriter", "part_writer"]

#: Rows of a row group of Parquet, where parts are joined to one file.
_ROWS_PER_GROUP: Final = 64 * 1024

#: Inside a field of TSV there can be neither a separator nor a line end.
_IMPOSSIBLE_IN_TSV: Final = str.maketrans("\t\r\n", "   ")


class PartWriter(Protocol):
    """Writes parts in one format."""

    def write(
        self, file: BinaryIO, chunk: Chunk, outcomes: Sequence[Outcome], *, begins_file: bool
    ) -> None:
        """Write a chunk.

        Args:
            file: The file of the part.
            chunk: The rows.
            outcomes: One for each row.
            begins_file: Whether the part is the beginning of a file, which may need a header.
        """

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write all parts as one file."""


def part_writer(form: Format, compression: Compression, columns: OutcomeColumns) -> PartWriter:
    """Return the writer of a format.

    Raises:
        MissingLibrary: Parquet or zstd needs a library that is not installed.
    """
    if Format.PARQUET is form:
        return _ParquetWriter(columns)
    if compression is Compression.ZSTD:
        require_pyarrow("zstd")
    if form is Format.JSONL:
        return _JsonWriter(columns, compression)
    return _SeparatedWriter(columns, compression, form)


class _TextWriter:
    """What the formats of text share."""

    def __init__(self, columns: OutcomeColumns, compression: Compression) -> None:
        self._columns = columns
        self._compression = compression

    def write(
        self, file: BinaryIO, chunk: Chunk, outcomes: Sequence[Outcome], *, begins_file: bool
    ) -> None:
        """See `PartWriter`."""
        data = self._encoded(chunk, outcomes, begins_file=begins_file)
        match self._compression:
            case Compression.GZIP:
                # Without a time in its header, the same rows give the same bytes.
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
                    stream.write(data)
            case Compression.ZSTD:
                pa = require_pyarrow("zstd")
                sink = pa.BufferOutputStream()
                with pa.CompressedOutputStream(sink, "zstd") as stream:
                    stream.write(data)
                file.write(sink.getvalue())
            case _:
                file.write(data)

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """See `PartWriter`."""
        for part in parts:
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, file, 1 << 20)

    def _encoded(self, chunk: Chunk, outcomes: Sequence[Outcome], *, begins_file: bool) -> bytes:
        raise NotImplementedError


class _JsonWriter(_TextWriter):
    """JSON lines. The object of a row is written as it is, with further members at its end."""

    def _encoded(self, chunk: Chunk, outcomes: Sequence[Outcome], *, begins_file: bool) -> bytes:  # noqa: ARG002
        names = self._columns.names
        lines: list[bytes] = []
        for row, values in zip(chunk.objects(), self._columns.rows(outcomes), strict=True):
            added = orjson.dumps(dict(zip(names, values, strict=True)))
            head = row[:-1].rstrip()
            lines += (head, b"" if head == b"{" else b",", added[1:], b"\n")
        return b"".join(lines)


class _SeparatedWriter(_TextWriter):
    """CSV (RFC 4180) or TSV, in UTF-8, with a header and line feeds."""

    def __init__(self, columns: OutcomeColumns, compression: Compression, form: Format) -> None:
        super().__init__(columns, compression)
        self._form = form

    def _encoded(self, chunk: Chunk, outcomes: Sequence[Outcome], *, begins_file: bool) -> bytes:
        rows: list[Sequence[str]] = [[*chunk.names, *self._columns.names]] if begins_file else []
        rows += [
            [*cells, *map(as_cell, values)]
            for cells, values in zip(chunk.cells(), self._columns.rows(outcomes), strict=True)
        ]
        if self._form is Format.TSV:
            separator = separator_of(self._form)
            lines = [
                separator.join([cell.translate(_IMPOSSIBLE_IN_TSV) for cell in row]) for row in rows
            ]
            return _bytes_of("".join([line + "\n" for line in lines]))
        text = _csv_text(rows, csv.QUOTE_MINIMAL)
        # Only quotes that all fields have enclose a carriage return for certain.
        return _bytes_of(_csv_text(rows, csv.QUOTE_ALL) if "\r" in text else text)


class _ParquetWriter:
    """Parquet, with the types and the metadata of the input, compressed with zstd."""

    def __init__(self, columns: OutcomeColumns) -> None:
        self._columns = columns
        self._pa = require_pyarrow("Parquet")
        scores = self._pa.map_(self._pa.string(), self._pa.float64())
        types = {
            "string": self._pa.string(),
            "double": self._pa.float64(),
            "int64": self._pa.int64(),
            "bool": self._pa.bool_(),
            "scores": scores,
            "parts": self._pa.list_(
                self._pa.struct(
                    {
                        "start": self._pa.int32(),
                        "end": self._pa.int32(),
                        "label": self._pa.string(),
                        "score": self._pa.float64(),
                        "scores": scores,
                        "sentiment": self._pa.float64(),
                    }
                )
            ),
        }
        self._types = [types[kind] for kind in columns.types]

    def write(
        self,
        file: BinaryIO,
        chunk: Chunk,
        outcomes: Sequence[Outcome],
        *,
        begins_file: bool,  # noqa: ARG002 - each part has a schema
    ) -> None:
        """See `PartWriter`."""
        table = chunk.table()
        columns = self._columns.values(outcomes)
        for name, kind, values in zip(self._columns.names, self._types, columns, strict=True):
            table = table.append_column(name, self._pa.array(values, kind))
        self._pa.parquet.write_table(table, file, compression="zstd")

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """See `PartWriter`. Row groups are larger than parts."""
        writer: Any = None
        try:
            for table in self._groups(parts):
                if writer is None:
                    writer = self._pa.parquet.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
        finally:
            if writer is not None:
                writer.close()

    def _groups(self, parts: Iterable[Path]) -> Iterator[Any]:
        tables: list[Any] = []
        rows = size_bytes = 0
        for part in parts:
            table = self._pa.parquet.read_table(part, memory_map=False)
            tables.append(table)
            rows += table.num_rows
            size_bytes += table.nbytes
            if rows >= _ROWS_PER_GROUP or size_bytes >= _BYTES_PER_GROUP:
                yield self._pa.concat_tables(tables)
                tables, rows, size_bytes = [], 0, 0
        if tables:
            yield self._pa.concat_tables(tables)


#: Bytes of a row group in memory, where parts are joined to one file.
_BYTES_PER_GROUP: Final = 128 * 1024 * 1024


def _csv_text(rows: Sequence[Sequence[str]], quoting: Literal[0, 1]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()


def _bytes_of(text: str) -> bytes:
    """Return a text in UTF-8. A byte of the input that was no text is the same byte again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # The input was not UTF-8.
        return valid_text(text).encode()
