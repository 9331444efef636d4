"""How the values of columns are read, and their types in Arrow.

Values that Python has no object for, such as the date `infinity`, must not end a run. So the server
gives what is neither a number nor a text in a form that holds all values: text, JSON, or whole
days and microseconds since 1970, as Arrow counts them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from psycopg import sql

from sentq.files.postgresql.catalog import TableColumn

__all__ = ["arrow_type", "selected"]

#: Types that are read as they are, and their types in Arrow.
_PLAIN: Final = {
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double precision": "float64",
    "bytea": "binary",
}

_JSON: Final = {"json", "jsonb"}
_TIMES: Final = {"timestamp without time zone": None, "timestamp with time zone": "UTC"}

#: Arrays and composite types have no columns of Arrow of their own.
_ARRAY: Final = "A"

#: The most digits of a decimal of Arrow with 128 bits.
_MAX_DIGITS: Final = 38
_DECIMAL: Final = re.compile(r"numeric\((\d+),(\d+)\)")


def selected(column: TableColumn, *, for_arrow: bool) -> sql.Composed:
    """Return the expression that reads a column.

    Args:
        column: The column.
        for_arrow: Whether the values are for `arrow_type`; else for CSV or JSON.
    """
    return sql.SQL(_expression(column, for_arrow=for_arrow)).format(sql.Identifier(column.name))


def _expression(column: TableColumn, *, for_arrow: bool) -> str:
    kind = column.base_type
    if kind in _PLAIN:
        return "{}"
    if kind in _JSON:
        return "{}::text" if for_arrow else "{}"
    if column.category == _ARRAY or column.is_composite:
        return "to_jsonb({})::text" if for_arrow else "to_jsonb({})"
    if kind in {"date", *_TIMES}:
        return _since_1970(kind) if for_arrow else "to_json({}) #>> '{{}}'"  # ISO 8601
    if for_arrow and _digits(column) is not None:
        return "CASE WHEN {0} <> 'NaN' THEN {0} END"
    return "{}::text"


def _since_1970(kind: str) -> str:
    """Return days or microseconds. `infinity` has none, and is null."""
    number = "{0} - DATE '1970-01-01'"
    if kind != "date":
        number = "(extract(epoch FROM {0}) * 1000000)::bigint"
    return f"CASE WHEN isfinite({{0}}) THEN {number} END"


def arrow_type(pa: Any, column: TableColumn) -> Any:
    """Return the type of a column in Arrow.

    Args:
        pa: The module `pyarrow`.
        column: The column.
    """
    kind = column.base_type
    if kind in _PLAIN:
        return pa.type_for_alias(_PLAIN[kind])
    if kind == "date":
        return pa.date32()
    if kind in _TIMES:
        return pa.timestamp("us", tz=_TIMES[kind])
    digits = _digits(column)
    return pa.string() if digits is None else pa.decimal128(*digits)


def _digits(column: TableColumn) -> tuple[int, int] | None:
    """Return precision and scale of a decimal that Arrow has a type for."""
    found = _DECIMAL.fullmatch(column.full_type)
    if found is None or not int(found[2]) <= int(found[1]) <= _MAX_DIGITS:
        return None
    return int(found[1]), int(found[2])
