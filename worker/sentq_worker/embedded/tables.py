"""Columnar batches of other libraries: read the texts of a column, add columns of outcomes.

None of these libraries is imported here: a batch of one exists only if the process has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

from sentq.contract import Outcome
from sentq.errors import InvalidInput
from sentq.files.outcomes import OutcomeColumns, OutcomeType
from sentq.files.values import as_json

__all__ = ["TableType", "add_outcomes", "read_texts", "table_types"]

Batch = TypeVar("Batch")

#: The type of a new column, by a name that Spark, Arrow and pandas know.
TableType = Literal["string", "double", "boolean"]

#: Parts are JSON: each library has other types for lists of objects.
_TYPES: Final[Mapping[OutcomeType, TableType]] = {
    "string": "string",
    "double": "double",
    "bool": "boolean",
    "parts": "string",
}

#: A message shows the names of so many columns, and so many characters of each.
_MAX_SHOWN_COLUMNS: Final = 12
_MAX_SHOWN_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class _NewColumn:
    """A column to add; None where a row has no value."""

    name: str
    type: TableType
    values: Sequence[object]


class _Form(Protocol):
    """How batches of one library are read and extended. The batch itself is never changed."""

    @staticmethod
    def names(batch: Any) -> list[object]:
        """Return the names of all columns."""

    @staticmethod
    def values(batch: Any, column: str) -> list[object]:
        """Return a column as objects of Python."""

    @staticmethod
    def extended(batch: Any, columns: Sequence[_NewColumn], like: str) -> Any:
        """Return the batch with further columns, all others as they are.

        Args:
            batch: The batch.
            columns: What to add, in order.
            like: The column of texts.
        """


class _Arrow:
    """A Table or RecordBatch of pyarrow."""

    @staticmethod
    def names(batch: Any) -> list[object]:
        return list(batch.schema.names)

    @staticmethod
    def values(batch: Any, column: str) -> list[object]:
        values: list[object] = batch.column(column).to_pylist()
        return values

    @staticmethod
    def extended(batch: Any, columns: Sequence[_NewColumn], like: str) -> Any:  # noqa: ARG004
        import pyarrow as pa

        for column in columns:
            kind = pa.type_for_alias(column.type)
            field = pa.field(column.name, kind)
            batch = batch.append_column(field, pa.array(column.values, kind))
        return batch


class _Pandas:
    """A DataFrame of pandas."""

    @staticmethod
    def names(batch: Any) -> list[object]:
        return list(batch.columns)

    @staticmethod
    def values(batch: Any, column: str) -> list[object]:
        values: list[object] = batch[column].tolist()
        return values

    @staticmethod
    def extended(batch: Any, columns: Sequence[_NewColumn], like: str) -> Any:  # noqa: ARG004
        import pandas as pd

        # A column of objects would have no type where it has no value: two parts of a data set
        # would differ.
        kinds = {"string": "string", "double": "float64", "boolean": "boolean"}
        return batch.assign(
            **{
                column.name: pd.Series(column.values, index=batch.index, dtype=kinds[column.type])
                for column in columns
            }
        )


class _Polars:
    """A DataFrame of polars."""

    @staticmethod
    def names(batch: Any) -> list[object]:
        return list(batch.columns)

    @staticmethod
    def values(batch: Any, column: str) -> list[object]:
        values: list[object] = batch.get_column(column).to_list()
        return values

    @staticmethod
    def extended(batch: Any, columns: Sequence[_NewColumn], like: str) -> Any:  # noqa: ARG004
        import polars as pl

        kinds = {"string": pl.String, "double": pl.Float64, "boolean": pl.Boolean}
        return batch.with_columns(
            pl.Series(column.name, column.values, dtype=kinds[column.type]) for column in columns
        )


class _Columns:
    """A dict of columns: lists, or arrays of NumPy. The batches of `datasets` are such, too."""

    @staticmethod
    def names(batch: Any) -> list[object]:
        return list(batch)

    @staticmethod
    def values(batch: Any, column: str) -> list[object]:
        values = batch[column]
        if isinstance(values, str | bytes):
            raise InvalidInput(
                f"the column {column!r} is one text, not a list of texts: a batch has columns "
                "(`batched=True` in datasets)"
            )
        for convert in ("to_pylist", "tolist"):  # pyarrow; NumPy and pandas
            if hasattr(values, convert):
                values = getattr(values, convert)()
        return list(values)

    @staticmethod
    def extended(batch: Any, columns: Sequence[_NewColumn], like: str) -> Any:
        is_numpy = _is_of(batch[like], "numpy", "ndarray")
        added = {column.name: _array(column) if is_numpy else column.values for column in columns}
        # Not {**batch}: datasets reads a column of its batches only if it is asked for it.
        return batch | added if hasattr(batch, "__or__") else {**batch, **added}


#: The classes of each library, and how its batches are read.
_FORMS: Final[Sequence[tuple[str, tuple[str, ...], type[_Form]]]] = (
    ("pyarrow", ("Table", "RecordBatch"), _Arrow),
    ("pandas", ("DataFrame",), _Pandas),
    ("polars", ("DataFrame",), _Polars),
)


def table_types(columns: OutcomeColumns) -> dict[str, TableType]:
    """Return the types of new columns, by their names, in order."""
    kinds = (_TYPES[kind] for kind in columns.types)
    return dict(zip(columns.names, kinds, strict=True))


def read_texts(batch: object, column: str, columns: OutcomeColumns) -> list[object]:
    """Return the texts of a batch: one entry for each row, None or NaN where there is no text.

    Args:
        batch: The batch.
        column: The column of texts.
        columns: The columns that will be added.

    Raises:
        InvalidInput: It is no batch of columns, has not exactly one column of texts, or has a
            column of a name that will be added.
    """
    form = _form(batch)
    names = form.names(batch)
    if (count := names.count(column)) != 1:
        problem = "no column" if count == 0 else f"{count} columns named"
        raise InvalidInput(
            f"the batch has {problem} {column!r}: its columns are {_shown(names)}. "
            "Scorer(column=…) names the column of texts"
        )
    if taken := [name for name in columns.names if name in names]:
        raise InvalidInput(
            f"the batch has {_shown(taken)} already: it was scored before, or "
            "Scorer(prefix=…) must choose other names"
        )
    return form.values(batch, column)


def add_outcomes(
    batch: Batch, column: str, outcomes: Sequence[Outcome], columns: OutcomeColumns
) -> Batch:
    """Return a batch that `read_texts` has read, with further columns.

    Args:
        batch: The batch. It stays as it is.
        column: The column of texts.
        outcomes: One for each row, in order.
        columns: The new columns.
    """
    extended: Batch = _form(batch).extended(batch, _new_columns(outcomes, columns), column)
    return extended


def _form(batch: object) -> type[_Form]:
    for module, classes, form in _FORMS:
        if _is_of(batch, module, *classes):
            return form
    if isinstance(batch, Mapping):
        return _Columns
    raise InvalidInput(
        "a batch is a dict of columns, a pyarrow Table or RecordBatch, a pandas or polars "
        f"DataFrame, or an iterator of these, not {type(batch).__qualname__}; "
        "Scorer.score takes a list of texts"
    )


def _is_of(value: object, module: str, *classes: str) -> bool:
    """Return whether a value is of one of the classes of a library, without importing it."""
    loaded = sys.modules.get(module)
    found = [getattr(loaded, name, None) for name in classes]
    return isinstance(value, tuple(each for each in found if isinstance(each, type)))


def _new_columns(outcomes: Sequence[Outcome], columns: OutcomeColumns) -> list[_NewColumn]:
    return [
        _NewColumn(name, _TYPES[kind], [*map(_as_json, values)] if kind == "parts" else values)
        for name, kind, values in zip(
            columns.names, columns.types, columns.values(outcomes), strict=True
        )
    ]


def _as_json(value: object) -> str | None:
    return None if value is None else as_json(value).decode()


def _array(column: _NewColumn) -> object:
    import numpy as np

    # As float64, None becomes NaN.
    return np.array(column.values, dtype=np.float64 if column.type == "double" else object)


def _shown(names: Sequence[object]) -> str:
    """Return names of columns for a message: no more, and no longer ones, than a line holds."""
    shown = [repr(name)[:_MAX_SHOWN_CHARS] for name in names[:_MAX_SHOWN_COLUMNS]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
