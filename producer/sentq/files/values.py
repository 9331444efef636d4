"""Values of columns in the forms of other formats: cells of text, and JSON."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import re
from typing import Any, Final

import orjson

__all__ = ["as_cell", "as_json", "printable_column", "valid_text"]

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_OPTIONS: Final = (
    orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_UUID | orjson.OPT_PASSTHROUGH_DATETIME
)


def valid_text(text: str) -> str:
    """Return a text as valid Unicode. What is no text becomes U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def as_cell(value: object) -> str:
    """Return a value as a cell of CSV.

    None is empty; truth is `true` or `false`; times are ISO 8601; bytes are base64; lists and
    objects are JSON.
    """
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case dict() | list() | tuple():
            return as_json(value).decode()
        case _:
            return str(_plain(value))


def as_json(value: object) -> bytes:
    """Return a value as JSON. What JSON does not have is a string, as `as_cell` gives it; numbers
    that are not finite are null."""
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:  # An integer of more than 64 bits, or half a surrogate pair.
        return orjson.dumps(_without_limits(value), default=_plain, option=_OPTIONS)


def printable_column(column: Any) -> list[object]:
    """Return the values of an Arrow column as objects of Python that `as_cell` and `as_json` take.

    Times beyond Python's range or precision are strings. What no object of Python can hold is as
    Arrow prints it.
    """
    import pyarrow as pa

    try:
        if _has_exact_times(column.type):
            column = column.cast(pa.string())
        values: list[object] = column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        values = [_printed(column, n) for n in range(len(column))]
    return values


def _has_exact_times(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_timestamp(kind) and kind.tz is None) or bool(pa.types.is_time(kind))


def _printed(column: Any, place: int) -> object:
    import pyarrow as pa

    try:
        return column[place].as_py()
    except UnicodeDecodeError:
        return bytes(column[place].as_buffer()).decode("utf-8", "replace")
    except (ValueError, OverflowError, pa.ArrowException):
        printed = column.slice(place, 1).to_string(skip_new_lines=True)
        return printed.strip("[] ")


def _plain(value: object) -> object:
    match value:
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case _:
            return str(value)


def _without_limits(value: object) -> object:
    match value:
        case dict():
            return {_without_limits(key): _without_limits(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_limits(each) for each in value]
        case str():
            return valid_text(value)
        case int():
            return value if value.bit_length() < 64 else str(value)  # noqa: PLR2004
        case _:
            return value
