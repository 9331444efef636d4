"""Transactions of a database, repeated if the connection is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg.adapt import Loader

from sentq.errors import SentqError
from sentq.files.formats import FileProblem
from sentq.files.postgresql.address import DatabaseAddress, DatabaseUnavailable

__all__ = ["Session"]

T = TypeVar("T")

#: Seconds between the tries of a transaction. A server that restarts, or a standby that takes its
#: place, needs some of them.
_WAITS_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)

#: Seconds to wait for a connection, unless the URL has `connect_timeout`.
_CONNECT_TIMEOUT_S: Final = 10

#: Values are written in one way, with any settings of the user. They hold for one
#: transaction, so they also do behind a pool of connections.
_SETTINGS: Final = (
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true), "
    "set_config('IntervalStyle', 'iso_8601', true), set_config('extra_float_digits', '1', true)"
)

#: SQLSTATEs, or their classes, of errors that another try may not have: the connection was lost or
#: refused, the server stops or starts, or another transaction was in the way.
_PASSING: Final = ("08", "40", "53", "57P", "55P03", "25P03")

#: Classes of errors whose message quotes names, and no value of a row.
_QUOTES_NO_VALUE: Final = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57")

#: What a server says of a connection that it will refuse each time.
_REFUSED: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "denied",
)


class Session:
    """Transactions of a database. The connection is made when it is needed.

    Args:
        address: The database.
        is_read_only: Whether nothing may be written.
        on_connect: Is called in the first transaction of each connection.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        is_read_only: bool = False,
        on_connect: Callable[[psycopg.Connection[Any]], None] | None = None,
    ) -> None:
        self.address = address
        self._is_read_only = is_read_only
        self._on_connect = on_connect
        self._connection: psycopg.Connection[Any] | None = None
        self._was_connected = False

    def run(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run a transaction.

        Args:
            work: The statements. They are repeated as a whole if the connection is lost, also if
                it is lost at the commit: then it is not known whether they were done.

        Returns:
            What `work` returns.

        Raises:
            DatabaseUnavailable: The database did not answer in some 35 seconds.
            FileProblem: A statement is not possible.
        """
        waits_s = iter(_WAITS_S)
        while True:
            try:
                connection = self._connected()
                with connection.transaction():
                    connection.execute(_SETTINGS)
                    return work(connection)
            except psycopg.Error as error:
                may_pass = self._was_connected and self._may_pass(error)
                wait_s = next(waits_s, None) if may_pass else None
                if wait_s is None:
                    raise self._problem(error, may_pass=may_pass) from None
                if self._connection is not None and self._connection.broken:
                    self.close()
                time.sleep(wait_s)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            return self._connection
        options = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "sentq",
            **self.address.options,
            "client_encoding": "UTF8",
        }
        connection = psycopg.connect(**options, autocommit=True)
        connection.adapters.register_loader("text", _TextLoader)
        connection.read_only = self._is_read_only
        # Behind a pool, the next transaction may meet a server that has not prepared a statement.
        connection.prepare_threshold = None
        self._connection = connection
        if self._on_connect is not None:
            try:
                with connection.transaction():
                    self._on_connect(connection)
            except BaseException:
                self.close()
                raise
        self._was_connected = True
        return connection

    def _may_pass(self, error: psycopg.Error) -> bool:
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError)
        return error.sqlstate.startswith(_PASSING)

    def _problem(self, error: psycopg.Error, *, may_pass: bool) -> SentqError:
        """Return an error for the user, without any value of a row."""
        if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
            reason = " ".join(str(error).split())
            if not may_pass and any(words in reason for words in _REFUSED):
                return FileProblem(f"cannot connect to {self.address}: {reason}")
            return DatabaseUnavailable(f"{self.address} did not answer: {reason}")
        message = type(error).__name__
        if error.diag.message_primary and (error.sqlstate or "").startswith(_QUOTES_NO_VALUE):
            message = error.diag.message_primary
        if may_pass:
            return DatabaseUnavailable(f"{self.address} refused each try: {message}")
        return FileProblem(f"{self.address}: {message} (SQLSTATE {error.sqlstate})")


class _TextLoader(Loader):
    """Reads texts. Bytes that are not UTF-8, which a database in SQL_ASCII may have, become lone
    surrogates."""

    def load(self, data: Any) -> str:
        """See `Loader`."""
        return bytes(data).decode("utf-8", "surrogateescape")
