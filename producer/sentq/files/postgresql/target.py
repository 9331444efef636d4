"""Store outcomes in columns of the table that is read, or in a table of their own.

What a run has stored is counted in the table `sentq_runs` beside it, by the transaction that stores
the outcomes. So whenever a process or a connection ends, each row has its outcome stored once, and
the run goes on after the last of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from sentq.contract import Outcome
from sentq.files.formats import FileProblem
from sentq.files.outcomes import OutcomeColumns, OutcomeType
from sentq.files.postgresql.address import DatabaseAddress
from sentq.files.postgresql.catalog import (
    DatabaseId,
    TableColumn,
    TableFacts,
    database_id,
    find_table,
    look_up_table,
)
from sentq.files.postgresql.session import Session
from sentq.files.values import as_json, valid_text

__all__ = ["PostgresTarget", "StoredRun", "TargetOptions"]

_RUNS: Final = "sentq_runs"
_RIGHTS_ON_RUNS: Final = ("SELECT", "INSERT", "UPDATE")

#: The type of a column for each type of outcomes.
_TYPES: Final[Mapping[OutcomeType, str]] = {
    "string": "text",
    "double": "double precision",
    "int64": "bigint",
    "bool": "boolean",
    "scores": "jsonb",
    "parts": "jsonb",
}

#: Seconds to wait for another process that writes the same output: the server may need some of
#: them to notice that a process was killed.
_LOCK_WAIT_S: Final = 10.0
_LOCK_LOOK_S: Final = 0.2

#: While ALTER TABLE waits for others, all others wait for it: so it gives up soon, and tries again.
_ALTER_TIMEOUT: Final = "3s"

#: So that the server notices in a minute that a client is gone, and its lock with it.
_KEEPALIVES: Final = (
    "SELECT set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)

_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('sentq ' || %s, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """Where outcomes are stored.

    Attributes:
        table: The table; it is made if it is one of its own and is not there.
        is_own: Whether it is a table of its own, and not the one that is read.
        key: The column of keys, as it is in the table that is read.
        columns: The columns of outcomes.
    """

    table: str
    is_own: bool
    key: TableColumn
    columns: OutcomeColumns


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What `sentq_runs` has of a run.

    Attributes:
        parts: How many parts are stored.
        state: The state of the run after them.
    """

    parts: int
    state: Mapping[str, Any]


class PostgresTarget:
    """Stores outcomes by the keys of their rows. While it is open, no other process can write the
    same output.

    Args:
        address: The database.
        options: Where they are stored.

    Raises:
        FileProblem: There is no such table, or it is a view; or another process writes it.
        DatabaseUnavailable: The database does not answer.
    """

    def __init__(self, address: DatabaseAddress, options: TargetOptions) -> None:
        self._options = options
        self._output = ""
        self._session = Session(address, on_connect=self._lock)
        try:
            self._schema, self._name = self._session.run(self._place)
            self._output = self._name
            if not options.is_own:
                self._output += f" {options.columns.prefix}*"
            self._session.run(self._lock)
        except BaseException:
            self._session.close()
            raise

    def __str__(self) -> str:
        what = "" if self._options.is_own else "columns of "
        return f"{what}{self._schema}.{self._name}, {self._session.address}"

    def has_table(self, table: tuple[DatabaseId, int]) -> bool:
        """Return whether a table is the one that outcomes are written to."""

        def look(connection: psycopg.Connection[Any]) -> bool:
            facts = self._facts(connection)
            return facts is not None and (database_id(connection), facts.oid) == table

        return self._session.run(look)

    def read(self) -> StoredRun | None:
        """Return what is stored of a run with this output; None without one."""
        return self._session.run(self._read)

    def prepare(self, run: StoredRun, *, restart: bool) -> None:
        """Begin a run: make what is missing of the table, of its columns and of `sentq_runs`.

        Args:
            run: The run before its first part.
            restart: Whether outcomes that are there may be overwritten.

        Raises:
            FileProblem: Outcomes are there and may not be overwritten, a column has another type,
                or the user of the database may not do it; the message has the SQL for its owner.
        """
        self._session.run(lambda connection: self._prepare(connection, run, restart=restart))

    def store(self, keys: Sequence[str], outcomes: Sequence[Outcome], run: StoredRun) -> int:
        """Store a part, and the run after it, in one transaction.

        Args:
            keys: The key of each row, as PostgreSQL writes it.
            outcomes: The outcome of each.
            run: The run after this part.

        Returns:
            How many rows were stored: fewer than `keys` if rows were deleted meanwhile.

        Raises:
            FileProblem: Another process has written the same output, or the rows cannot be stored.
            DatabaseUnavailable: The database did not answer. It is not known whether the part is
                stored; the run that goes on finds out.
        """
        return self._session.run(lambda connection: self._store(connection, keys, outcomes, run))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    # --- Transactions -----------------------------------------------------------------------------

    def _lock(self, connection: psycopg.Connection[Any]) -> None:
        """Keep other processes from this output as long as the connection lasts."""
        if not self._output:
            return  # It is not known yet.
        connection.execute(_KEEPALIVES)
        end_s = time.monotonic() + _LOCK_WAIT_S
        while not _value(connection, _LOCK, (f"{self._schema}.{self._output}",)):
            if time.monotonic() > end_s:
                raise FileProblem(f"another process writes {self}: wait for it")
            time.sleep(_LOCK_LOOK_S)

    def _place(self, connection: psycopg.Connection[Any]) -> tuple[str, str]:
        """Return schema and name of the table."""
        name = self._options.table
        facts = (look_up_table if self._options.is_own else find_table)(connection, name)
        if facts is not None:
            if not facts.is_writable:
                raise FileProblem(
                    f"{facts} is a view or a foreign table, and cannot have columns of outcomes: "
                    "name a table of their own with --out-table"
                )
            return facts.schema, facts.name
        schema, _, table = name.rpartition(".")
        present = schema or _value(connection, "SELECT current_schema()")
        if not present:
            raise FileProblem(f"there is no schema for {name}: --out-table SCHEMA.{name}")
        return present, table

    def _facts(self, connection: psycopg.Connection[Any]) -> TableFacts | None:
        return look_up_table(connection, f"{self._schema}.{self._name}")

    def _read(self, connection: psycopg.Connection[Any]) -> StoredRun | None:
        if not self._has_runs(connection):
            return None
        query = sql.SQL("SELECT parts, state FROM {} WHERE output = %s").format(self._runs)
        found = connection.execute(query, (self._output,)).fetchone()
        if found is None:
            return None
        facts = self._facts(connection)
        there = {column.name for column in facts.columns} if facts else set()
        if missing := [name for name in self._options.columns.names if name not in there]:
            raise FileProblem(
                f"{self._schema}.{self._name} has no column {missing[0]!r} any more: --restart "
                "begins anew"
            )
        return StoredRun(*found)

    def _prepare(
        self, connection: psycopg.Connection[Any], run: StoredRun, *, restart: bool
    ) -> None:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (_ALTER_TIMEOUT,))
        facts = self._facts(connection)
        statements = self._statements(connection, facts, restart=restart)
        if not self._has_runs(connection):
            statements.append(
                f"CREATE TABLE {self._runs.as_string()} (output text PRIMARY KEY, parts bigint "
                "NOT NULL, state jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())"
            )
        try:
            for statement in statements:
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            raise FileProblem(
                f"this user of the database may not make what {self} needs. Its owner can: "
                f"{'; '.join(statements)}; and GRANT what SELECT, INSERT and UPDATE of it need"
            ) from None
        self._write_run(connection, run)

    def _statements(
        self, connection: psycopg.Connection[Any], facts: TableFacts | None, *, restart: bool
    ) -> list[str]:
        """Return the SQL that makes the table, or what is missing of its columns."""
        options = self._options
        wanted = {
            name: _TYPES[kind]
            for name, kind in zip(options.columns.names, options.columns.types, strict=True)
        }
        if facts is None:
            columns = {options.key.name: f"{options.key.type} PRIMARY KEY"} | wanted
            listed = ", ".join(f"{_quoted(name)} {kind}" for name, kind in columns.items())
            return [f"CREATE TABLE {self._table.as_string()} ({listed})"]
        present = {column.name: column.type for column in facts.columns}
        for name, kind in wanted.items():
            if present.get(name, kind) != kind:
                raise FileProblem(
                    f"the column {name!r} of {facts} is of the type {present[name]}, and outcomes "
                    f"need {kind}: --prefix chooses other names"
                )
        statements = []
        if options.is_own:
            statements += self._cleared(connection, facts, restart=restart)
        elif not restart:
            self._check_unscored(connection, facts, [name for name in wanted if name in present])
        if missing := [name for name in wanted if name not in present]:
            added = ", ".join(f"ADD COLUMN {_quoted(name)} {wanted[name]}" for name in missing)
            statements.append(f"ALTER TABLE {self._table.as_string()} {added}")
        return statements

    def _cleared(
        self, connection: psycopg.Connection[Any], facts: TableFacts, *, restart: bool
    ) -> list[str]:
        """Return the SQL that empties a table of outcomes.

        Raises:
            FileProblem: It is no such table.
        """
        key = self._options.key
        if key.name not in facts.unique or facts.column(key.name, "--key-column").type != key.type:
            raise FileProblem(
                f"{facts} has no unique column {key.name!r} of the type {key.type}: name another "
                "table with --out-table"
            )
        query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(self._table)
        if not _value(connection, query):
            return []
        if not restart or not self._is_of_run(connection):
            raise FileProblem(
                f"{facts} has rows that are not of this run: name another table with --out-table"
            )
        return [f"TRUNCATE {self._table.as_string()}"]

    def _has_runs(self, connection: psycopg.Connection[Any]) -> bool:
        """Return whether `sentq_runs` is there.

        Raises:
            FileProblem: The user of the database may not use it.
        """
        name = f"{self._schema}.{_RUNS}"
        facts = look_up_table(connection, name)
        rights = "SELECT has_table_privilege(%s::oid, %s)"
        if facts and not all(
            _value(connection, rights, (facts.oid, right)) for right in _RIGHTS_ON_RUNS
        ):
            raise FileProblem(
                f"this user of the database may not use {name}, which has the states of runs: its "
                f"owner can GRANT {', '.join(_RIGHTS_ON_RUNS)} ON {name}"
            )
        return facts is not None

    def _is_of_run(self, connection: psycopg.Connection[Any]) -> bool:
        if not self._has_runs(connection):
            return False
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE output = %s)").format(self._runs)
        return bool(_value(connection, query, (self._output,)))

    def _check_unscored(
        self, connection: psycopg.Connection[Any], facts: TableFacts, names: Sequence[str]
    ) -> None:
        for name in names:
            query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)").format(
                self._table, sql.Identifier(name)
            )
            if _value(connection, query):
                raise FileProblem(
                    f"the column {name!r} of {facts} has values already: --restart overwrites "
                    "them, and --prefix chooses other names"
                )

    def _store(
        self,
        connection: psycopg.Connection[Any],
        keys: Sequence[str],
        outcomes: Sequence[Outcome],
        run: StoredRun,
    ) -> int:
        query = sql.SQL("SELECT parts FROM {} WHERE output = %s FOR UPDATE").format(self._runs)
        parts = _value(connection, query, (self._output,))
        if parts == run.parts:
            return len(keys)  # The connection was lost after the commit.
        if parts != run.parts - 1:
            raise FileProblem(f"another process has written {self}: run the command again")
        columns = self._options.columns
        values: dict[str, list[Any]] = {"key": list(keys)}
        for number, (kind, column) in enumerate(
            zip(columns.types, columns.values(outcomes), strict=True)
        ):
            values[f"c{number}"] = _stored(kind, column)
        stored = connection.execute(self._statement(), values).rowcount
        self._write_run(connection, run)
        return stored

    def _statement(self) -> sql.Composed:
        """Return the statement that stores columns of values."""
        options = self._options
        arrays = [sql.SQL("%(key)s::text[]::{}[]").format(options.key.type_name)]
        for number, kind in enumerate(options.columns.types):
            cast = "text[]::jsonb" if _TYPES[kind] == "jsonb" else _TYPES[kind]
            arrays.append(sql.SQL("{}::{}[]").format(sql.Placeholder(f"c{number}"), sql.SQL(cast)))
        key = sql.Identifier(options.key.name)
        names = [sql.Identifier(name) for name in options.columns.names]
        parts = {
            "table": self._table,
            "key": key,
            "names": sql.SQL(", ").join([key, *names]),
            "arrays": sql.SQL(", ").join(arrays),
            "new": sql.SQL(", ").join(
                sql.SQL("{} = {}.{}").format(name, sql.Identifier(row), name)
                for name in names
                for row in ["excluded" if options.is_own else "v"]
            ),
        }
        if options.is_own:
            return sql.SQL(
                "INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) "
                "ON CONFLICT ({key}) DO UPDATE SET {new}"
            ).format(**parts)
        return sql.SQL(
            "UPDATE {table} AS t SET {new} FROM unnest({arrays}) AS v ({names}) "
            "WHERE t.{key} = v.{key}"
        ).format(**parts)

    def _write_run(self, connection: psycopg.Connection[Any], run: StoredRun) -> None:
        query = sql.SQL(
            "INSERT INTO {} AS r (output, parts, state) VALUES (%s, %s, %s::jsonb) ON CONFLICT "
            "(output) DO UPDATE SET parts = excluded.parts, state = excluded.state, "
            "updated_at = now()"
        ).format(self._runs)
        state = json.dumps(run.state)
        connection.execute(query, (self._output, run.parts, state))

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(self._schema, self._name)

    @property
    def _runs(self) -> sql.Identifier:
        return sql.Identifier(self._schema, _RUNS)


def _value(connection: psycopg.Connection[Any], query: Any, parameters: Any = None) -> Any:
    """Return the only value of the first row; None without a row."""
    found = connection.execute(query, parameters).fetchone()
    return found[0] if found else None


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _stored(kind: OutcomeType, column: Sequence[object]) -> list[object]:
    """Return values as PostgreSQL takes them: texts of it have no NUL."""
    match kind:
        case "string":
            return [
                valid_text(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
                if isinstance(value, str)
                else value
                for value in column
            ]
        case "scores" | "parts":
            return [None if value is None else as_json(value).decode() for value in column]
        case _:
            return list(column)
