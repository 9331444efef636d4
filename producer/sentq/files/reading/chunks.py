"""Chunks: rows that follow each other, with their texts and all their columns.

A chunk is what a run scores and writes as one part. Each kind has its rows as its format reads
them, and gives them in the form that an output needs: JSON objects, cells of text, or an Arrow
table. What cannot be read has no columns: an empty object, empty cells, nulls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import orjson

from sentq.files.formats import require_pyarrow
from sentq.files.values import as_cell, as_json, printable_column, valid_text

__all__ = ["START", "ArrowChunk", "Chunk", "JsonChunk", "Place", "RowChunk"]


class Place(NamedTuple):
    """A place between two rows of an input.

    Attributes:
        file: The number of the file, from 0.
        row: How many rows of the file are before it.
        key: The key of the last row before it, in a table of a database.
    """

    file: int
    row: int
    key: str | None = None


#: The beginning of an input.
START: Final = Place(0, 0)


class Chunk(Protocol):
    """Rows that follow each other."""

    @property
    def names(self) -> Sequence[str]:
        """The columns, in order, each of them once; none where they are not known."""

    @property
    def texts(self) -> Sequence[object]:
        """The text of each row, as it was read; a `TextError` for a row without one."""

    @property
    def end(self) -> Place:
        """The place after its last row."""

    @property
    def share(self) -> float | None:
        """Which share of the input ends with this chunk; None if that is not known."""

    def objects(self) -> Iterator[bytes]:
        """Yield each row as a JSON object."""

    def cells(self) -> Iterator[Sequence[str]]:
        """Yield each row as the texts of its columns, in order."""

    def table(self) -> Any:
        """Return the rows as a table of Arrow."""


@dataclass(slots=True, kw_only=True)
class RowChunk:
    """Rows of CSV, TSV or plain lines.

    Attributes:
        names: The columns, in order, each of them once.
        rows: The cells of each row; None for a row that cannot be read.
    """

    texts: list[object]
    end: Place
    share: float | None
    names: Sequence[str]
    rows: list[Sequence[str] | None]

    def objects(self) -> Iterator[bytes]:
        """See `Chunk`."""
        for row in self.rows:
            fields = {} if row is None else dict(zip(self.names, row, strict=True))
            yield as_json(fields)

    def cells(self) -> Iterator[Sequence[str]]:
        """See `Chunk`."""
        empty = ("",) * len(self.names)
        return (empty if row is None else row for row in self.rows)

    def table(self) -> Any:
        """See `Chunk`. All columns are strings."""
        pa = require_pyarrow("Parquet")
        columns = [
            [None if row is None else valid_text(row[n]) for row in self.rows]
            for n in range(len(self.names))
        ]
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays(arrays, names=list(self.names))


@dataclass(slots=True, kw_only=True)
class JsonChunk:
    """Rows of JSON lines.

    Attributes:
        columns: The columns of the whole input with their types, if the output needs them. The
            types are `bool`, `int64`, `double` and `string`; all else is JSON in a string.
        rows: The JSON text of each object; None for a row that cannot be read.
    """

    texts: list[object]
    end: Place
    share: float | None
    rows: list[str | None]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return tuple(self.columns)

    def objects(self) -> Iterator[bytes]:
        """See `Chunk`. They are as they stand in the file, to the byte."""
        return (b"{}" if row is None else row.encode() for row in self.rows)

    def cells(self) -> Iterator[Sequence[str]]:
        """See `Chunk`."""
        for row in self._fields():
            yield [as_cell(row.get(name)) for name in self.columns]

    def table(self) -> Any:
        """See `Chunk`."""
        pa = require_pyarrow("Parquet")
        rows = list(self._fields())
        arrays = []
        for name, kind in self.columns.items():
            values = [row.get(name) for row in rows]
            if kind == "string":
                values = [None if value is None else valid_text(as_cell(value)) for value in values]
            arrays.append(pa.array(values, pa.type_for_alias(kind)))
        return pa.Table.from_arrays(arrays, names=list(self.columns))

    def _fields(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            yield {} if row is None else _loads(row)


@dataclass(slots=True, kw_only=True)
class ArrowChunk:
    """Rows of Parquet.

    Attributes:
        rows: The table of Arrow, with all columns.
        names: The names of the columns, each of them once.
    """

    texts: list[object]
    end: Place
    share: float | None
    names: Sequence[str]
    rows: Any

    def objects(self) -> Iterator[bytes]:
        """See `Chunk`."""
        for row in self._values():
            yield as_json(dict(zip(self.names, row, strict=True)))

    def cells(self) -> Iterator[Sequence[str]]:
        """See `Chunk`."""
        for row in self._values():
            yield [as_cell(value) for value in row]

    def table(self) -> Any:
        """See `Chunk`. It is the table as it was read: types and metadata are the same."""
        return self.rows

    def _values(self) -> Iterator[Sequence[object]]:
        columns = [printable_column(column) for column in self.rows.columns]
        return zip(*columns, strict=True) if columns else iter([()] * len(self.texts))


def _loads(row: str) -> dict[str, object]:
    try:
        fields: dict[str, object] = orjson.loads(row)
    except orjson.JSONDecodeError:  # NaN, see `json_lines`.
        import json

        fields = json.loads(row)
    return fields
