"""The rows of a table in the order of a key, as chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from sentq.files.formats import FileProblem, require_pyarrow
from sentq.files.outcomes import OutcomeColumns
from sentq.files.postgresql.catalog import DatabaseId, TableColumn, database_id, find_table
from sentq.files.postgresql.columns import arrow_type, selected
from sentq.files.postgresql.session import Session
from sentq.files.reading.chunks import START, Place
from sentq.files.reading.sources import ROWS_PER_CHUNK
from sentq.files.values import as_cell, as_json, valid_text

__all__ = ["PostgresChunk", "PostgresOptions", "PostgresSource"]

#: The largest chunk, in bytes of its values as far as they are texts or bytes.
_BYTES_PER_CHUNK: Final = 16 * 1024 * 1024

#: Rows of one FETCH at first, and at most; and bytes that a FETCH is meant to have.
_FIRST_ROWS: Final = 64
_MOST_ROWS: Final = 2048
_BYTES_PER_FETCH: Final = 4 * 1024 * 1024

#: The category of types that hold texts, as pg_type.typcategory.
_TEXTS: Final = "S"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How a table is read.

    Attributes:
        table: Its name.
        field: The column of texts.
        key: The column of keys; None for the primary key.
        reads_all: Whether all columns are read; else only the key and the text.
        for_arrow: Whether the output is Parquet.
        rows_per_chunk: Most rows of a chunk.
    """

    table: str
    field: str = "text"
    key: str | None = None
    reads_all: bool = True
    for_arrow: bool = False
    rows_per_chunk: int = ROWS_PER_CHUNK


class _Row(NamedTuple):
    """A row: its key as PostgreSQL writes it, its text, and the values of its columns."""

    key: str
    text: object
    values: Sequence[object]


@dataclass(slots=True, kw_only=True)
class PostgresChunk:
    """A `Chunk` of rows of a table.

    Attributes:
        keys: The key of each row, as PostgreSQL writes it.
        rows: The values of each row.
        columns: What they are values of.
    """

    texts: list[object]
    end: Place
    share: float | None = None
    keys: Sequence[str]
    rows: Sequence[Sequence[object]]
    columns: Sequence[TableColumn]

    @property
    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return [column.name for column in self.columns]

    def objects(self) -> Iterator[bytes]:
        """See `Chunk`."""
        for row in self.rows:
            yield as_json(dict(zip(self.names, row, strict=True)))

    def cells(self) -> Iterator[Sequence[str]]:
        """See `Chunk`."""
        return ([as_cell(value) for value in row] for row in self.rows)

    def table(self) -> Any:
        """See `Chunk`."""
        pa = require_pyarrow("Parquet")
        arrays = []
        for number, column in enumerate(self.columns):
            values = [row[number] for row in self.rows]
            texts = [valid_text(value) if isinstance(value, str) else value for value in values]
            arrays.append(pa.array(texts, arrow_type(pa, column)))
        return pa.Table.from_arrays(arrays, names=list(self.names))


class PostgresSource:
    """A `RowSource` of a table.

    Each chunk is read by a transaction of its own, from the key of the last one on. So while texts
    are scored no transaction is open, which would keep the server from removing old rows.

    Args:
        session: The database.
        options: How the table is read.
        outcomes: The columns that will be added, where all columns are read.

    Raises:
        FileProblem: There is no such table, column or key, or the user may not read it.
        DatabaseUnavailable: The database does not answer.

    Attributes:
        facts: The table.
        key: The column of keys.
        rows: How many rows there are.
    """

    def __init__(
        self, session: Session, options: PostgresOptions, outcomes: OutcomeColumns
    ) -> None:
        self._session = session
        self._options = options
        self.facts = session.run(lambda connection: find_table(connection, options.table))
        self.key = self.facts.key(options.key)
        self._text = self._find_text()
        self._columns: Sequence[TableColumn] = ()
        if options.reads_all:
            self._columns = self.facts.columns
            outcomes.check([column.name for column in self._columns])
            for column in self._columns:
                self.facts.check_readable(column)
        self.rows: int | None = self.count()

    def digests(self) -> list[dict[str, object]] | None:
        """See `RowSource`. It is the table that is identified, and not its rows, which may change
        at any time."""
        (server, database), oid = self.table_id()
        read = self._columns or (self.key, self._text)
        return [
            {
                "name": f"{self._session.address} {self.facts}",
                "server": server,
                "database": database,
                "table": str(self.facts),
                "oid": oid,
                "key": self.key.name,
                "columns": ", ".join(f"{each.name} {each.full_type}" for each in read),
            }
        ]

    def chunks(self, start: Place) -> Iterator[PostgresChunk]:
        """See `RowSource`."""
        while chunk := self._read(start):
            yield chunk
            start = chunk.end

    def table_id(self) -> tuple[DatabaseId, int]:
        """Return what identifies the table: its database, and its number there."""
        return self._session.run(database_id), self.facts.oid

    def count(self) -> int:
        """Return how many rows there are now."""
        query = sql.SQL("SELECT count(*) FROM {}").format(self.facts.identifier)
        found = self._session.run(lambda connection: connection.execute(query).fetchone())
        return int(found[0]) if found else 0

    def no_rows(self) -> PostgresChunk:
        """See `RowSource`."""
        return self._chunk(START, [])

    def _find_text(self) -> TableColumn:
        column = self.facts.column(self._options.field, "--field")
        if column.category != _TEXTS:
            raise FileProblem(
                f"the column {column.name!r} of {self.facts} is of the type {column.full_type}, "
                "which holds no texts: choose another one with --field"
            )
        return column

    def _read(self, start: Place) -> PostgresChunk | None:
        """Return the rows after a place, None if there are none."""
        rows = self._session.run(lambda connection: self._fetch(connection, start.key))
        return self._chunk(start, rows) if rows else None

    def _chunk(self, start: Place, rows: Sequence[_Row]) -> PostgresChunk:
        end = Place(0, start.row + len(rows), rows[-1].key) if rows else start
        return PostgresChunk(
            texts=[row.text for row in rows],
            end=end,
            keys=[row.key for row in rows],
            rows=[row.values for row in rows],
            columns=self._columns,
        )

    def _fetch(self, connection: psycopg.Connection[Any], after: str | None) -> list[_Row]:
        """Read the next rows by a cursor of the server, so that none is here that is not needed."""
        most = self._options.rows_per_chunk
        found: list[_Row] = []
        size_bytes, step = 0, _FIRST_ROWS
        try:
            with connection.cursor(name="sentq_rows") as cursor:
                cursor.execute(*self._query(after, most))
                while fetched := cursor.fetchmany(min(step, most - len(found))):
                    for key, text, *values in fetched:
                        self._check_key(key, found[-1].key if found else after)
                        found.append(_Row(key, text, values))
                        size_bytes += _size_of(text) + sum(map(_size_of, values))
                        if len(found) == most or size_bytes >= _BYTES_PER_CHUNK:
                            return found
                    step = _step(size_bytes // len(found))
        except psycopg.errors.UndefinedFunction:
            raise FileProblem(
                f"the column {self.key.name!r} of {self.facts} is of the type {self.key.type}, "
                "which has no order: choose another one with --key-column"
            ) from None
        return found

    def _query(self, after: str | None, most: int) -> tuple[Any, dict[str, object]]:
        # Without its table, ORDER BY would mean the column of the result, which is a text.
        key = sql.Identifier("t", self.key.name)
        for_arrow = self._options.for_arrow
        columns = [
            sql.SQL("{}::text").format(key),
            sql.SQL("{}::text").format(sql.Identifier(self._text.name)),
            *(selected(column, for_arrow=for_arrow) for column in self._columns),
        ]
        # The type is as the server writes it, quoted where it needs quotes.
        condition: sql.Composable = sql.SQL("TRUE")
        if after is not None:
            condition = sql.SQL("{} > %(after)s::text::{}").format(key, self.key.type_name)
        query = sql.SQL("SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT %(most)s").format(
            sql.SQL(", ").join(columns), self.facts.identifier, condition, key
        )
        return query, {"after": after, "most": most}

    def _check_key(self, key: str | None, before: str | None) -> None:
        """Check what no index says of a view: that the keys are there, and each of them once."""
        if key is None or key == before:
            what = "null" if key is None else "not unique"
            raise FileProblem(
                f"a value of the column {self.key.name!r} of {self.facts} is {what}: name another "
                "one with --key-column"
            )


def _size_of(value: object) -> int:
    return len(value) if isinstance(value, str | bytes) else 8


def _step(bytes_per_row: int) -> int:
    return max(1, min(_MOST_ROWS, _BYTES_PER_FETCH // max(1, bytes_per_row)))
