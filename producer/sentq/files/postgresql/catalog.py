"""What a table is: its columns, their types, and which of them are keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from sentq.files.formats import FileProblem

__all__ = ["DatabaseId", "TableColumn", "TableFacts", "database_id", "find_table", "look_up_table"]

#: How many tables or columns an error names.
_SHOWN: Final = 20

#: What a table may be besides an ordinary one, as pg_class.relkind: a partitioned table; a view, a
#: materialized view, a foreign table.
_ORDINARY: Final = "r"
_PARTITIONED: Final = "p"
_KINDS: Final = [_ORDINARY, _PARTITIONED, "v", "m", "f"]

_TABLE: Final = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind::text = ANY (%(kinds)s)
  AND ((c.relname = %(name)s AND pg_table_is_visible(c.oid))
       OR n.nspname || '.' || c.relname = %(name)s)
ORDER BY pg_table_is_visible(c.oid) DESC
LIMIT 1
"""

_TABLES: Final = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname
            ELSE n.nspname || '.' || c.relname END AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind::text = ANY (%s) AND n.nspname !~ '^(pg_|information_schema$)'
ORDER BY name
LIMIT %s
"""

_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, NULL), format_type(b.oid, NULL),
       format_type(a.atttypid, a.atttypmod), b.typcategory::text, b.typtype = 'c', a.attnotnull,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_KEYS: Final = """
SELECT i.indisprimary, i.indnkeyatts, a.attname
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
"""

#: The same for a server and its standbys, and another one for each other server.
_SERVER: Final = """
SELECT CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_control_system()) END,
       current_database()
"""


class DatabaseId(NamedTuple):
    """What identifies a database.

    Attributes:
        server: The same for a server and its standbys; None if the user may not know it.
        database: Its name.
    """

    server: str | None
    database: str


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column.

    Attributes:
        name: Its name.
        type: Its type, as SQL writes it, without length or precision.
        base_type: The same, of the type that a domain is of.
        full_type: Its type with length or precision.
        category: The category of the type, as pg_type.typcategory: `S` for texts.
        is_composite: Whether a value has fields of its own.
        is_not_null: Whether each row has a value.
        is_readable: Whether the user may read it.
    """

    name: str
    type: str
    base_type: str
    full_type: str
    category: str
    is_composite: bool
    is_not_null: bool
    is_readable: bool

    @property
    def type_name(self) -> sql.SQL:
        """Its type, in a statement with parameters. The server has quoted it where it must be."""
        return sql.SQL(self.type.replace("%", "%%"))


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table, or a view.

    Attributes:
        oid: Its number in the database; a table that is made anew has another one.
        kind: As pg_class.relkind.
        columns: Its columns, in order.
        unique: The columns that have a unique index of their own.
        primary: The column that is the primary key; None without one, or of several columns.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: Sequence[TableColumn]
    unique: frozenset[str]
    primary: str | None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def is_writable(self) -> bool:
        """Whether it is a table, and not a view."""
        return self.kind in {_ORDINARY, _PARTITIONED}

    @property
    def identifier(self) -> sql.Identifier:
        """Its name, quoted."""
        return sql.Identifier(self.schema, self.name)

    def column(self, name: str, option: str) -> TableColumn:
        """Return a column that can be read.

        Args:
            name: Its name.
            option: The option that names it, for messages.

        Raises:
            FileProblem: There is no such column, or the user may not read it.
        """
        for column in self.columns:
            if column.name == name:
                self.check_readable(column)
                return column
        named = ", ".join(column.name for column in self.columns[:_SHOWN]) or "none"
        raise FileProblem(f"{self} has no column {name!r}; choose one with {option}: {named}")

    def check_readable(self, column: TableColumn) -> None:
        """Check that the user may read a column.

        Raises:
            FileProblem: The user may not.
        """
        if not column.is_readable:
            raise FileProblem(
                f"this user of the database may not read the column {column.name!r} of {self}: "
                f"its owner can GRANT SELECT ON {self}"
            )

    def key(self, name: str | None) -> TableColumn:
        """Return the column whose order the rows are read in.

        Args:
            name: Its name; None for the primary key.

        Raises:
            FileProblem: There is no such column, or values of it could be there twice or not at
                all.
        """
        if name is None:
            if self.primary is None:
                fitting = ", ".join(sorted(self.unique))
                raise FileProblem(
                    f"{self} has no primary key of one column: name a unique column with "
                    f"--key-column{f': {fitting}' if fitting else ''}"
                )
            name = self.primary
        column = self.column(name, "--key-column")
        if self.kind != _ORDINARY:
            return column  # No index can say that it is unique: that is checked row by row.
        if name not in self.unique:
            raise FileProblem(
                f"the column {name!r} of {self} is no key: it has no unique index. Name another "
                f"one with --key-column, or: CREATE UNIQUE INDEX ON {self} ({name})"
            )
        if not column.is_not_null:
            raise FileProblem(
                f"the column {name!r} of {self} may be null, so rows could be left out: name "
                "another one with --key-column, or let its owner set it NOT NULL"
            )
        return column


def find_table(connection: psycopg.Connection[Any], name: str) -> TableFacts:
    """Return what a table is.

    Args:
        connection: In a transaction.
        name: Its name as it stands in the database, with its schema (`sales.reviews`) or without.

    Raises:
        FileProblem: There is no such table; the message names those that are there.
    """
    facts = look_up_table(connection, name)
    if facts is None:
        there = connection.execute(_TABLES, (_KINDS, _SHOWN)).fetchall()
        named = ", ".join(row[0] for row in there) or "none"
        raise FileProblem(f"there is no table {name!r}; choose one with --in-table: {named}")
    return facts


def look_up_table(connection: psycopg.Connection[Any], name: str) -> TableFacts | None:
    """Return what a table is, None if it is not there. For the arguments see `find_table`."""
    found = connection.execute(_TABLE, {"name": name, "kinds": _KINDS}).fetchone()
    if found is None:
        return None
    oid, schema, table, kind = found
    columns = [TableColumn(*row) for row in connection.execute(_COLUMNS, (oid,)).fetchall()]
    keys = connection.execute(_KEYS, (oid,)).fetchall()
    single = [(is_primary, column) for is_primary, count, column in keys if count == 1]
    return TableFacts(
        oid,
        schema,
        table,
        kind,
        columns,
        frozenset(column for _, column in single),
        next((column for is_primary, column in single if is_primary), None),
    )


def database_id(connection: psycopg.Connection[Any]) -> DatabaseId:
    """Return what identifies the database."""
    found = connection.execute(_SERVER).fetchone()
    return DatabaseId(*found or (None, ""))
