"""The address of a database: a URL as libpq takes it. No message has the password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final, Self

from sentq.errors import SentqError
from sentq.files.formats import FileProblem, MissingLibrary

__all__ = ["DatabaseAddress", "DatabaseUnavailable", "names_database", "require_psycopg"]

_SCHEMES: Final = ("postgresql://", "postgres://")

#: An error of libpq could quote a URL with the password, so it is not passed on.
_NOT_A_URL: Final = (
    "the URL of the database is not postgresql://USER@HOST:PORT/NAME. A user or a password with "
    "special characters is percent-encoded (@ is %40, / is %2F)"
)


class DatabaseUnavailable(SentqError):
    """The database did not answer, or broke the connection each time: try again later."""


def names_database(argument: str) -> bool:
    """Tell whether an input or an output is the URL of a database."""
    return argument.startswith(_SCHEMES)


def require_psycopg() -> ModuleType:
    """Return the module `psycopg`.

    Raises:
        MissingLibrary: It is not installed, or finds no libpq.
    """
    try:
        import psycopg
    except ImportError as error:
        raise MissingLibrary('PostgreSQL needs psycopg: pip install "sentq[postgresql]"') from error
    return psycopg


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, and who connects.

    Attributes:
        options: The options of the connection, by the keywords of libpq; with the password.
    """

    options: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. What it does not say comes from the environment, such as PGPASSWORD, and
        from ~/.pgpass.

        Raises:
            FileProblem: It is not a URL as libpq takes it.
            MissingLibrary: psycopg is not installed.
        """
        psycopg = require_psycopg()
        try:
            options = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise FileProblem(_NOT_A_URL) from None
        # A password with @ or / that is not encoded ends up in other parts, which are shown.
        shown = [str(options.get(part, "")) for part in ("user", "host", "port", "dbname")]
        ports = shown[2].replace(",", "")
        if any("@" in part for part in shown) or (ports and not ports.isdecimal()):
            raise FileProblem(_NOT_A_URL)
        return cls(options)

    @property
    def database(self) -> str:
        """The name of the database, if the URL has one."""
        return str(self.options.get("dbname", ""))

    def __str__(self) -> str:
        host, port = self.options.get("host", ""), self.options.get("port", "")
        return f"postgresql://{host}{f':{port}' if port else ''}/{self.database}"
