"""The rows of a Parquet file: as batches of Arrow with all columns, or as fields of Python.

Batches are small, also of a file with large row groups: a group is read page by page. A group that
is damaged has as many rows as the end of the file says, and does not end the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from sentq.files.formats import FileProblem, require_pyarrow

__all__ = ["ParquetRows", "ReadBatch", "texts_of"]

#: The size of a batch: rows, and bytes by the average of its row group.
_MAX_BATCH_ROWS: Final = 8192
_MAX_BATCH_BYTES: Final = 16 * 1024 * 1024

#: How many bytes of a column are read at once.
_BUFFER_BYTES: Final = 1024 * 1024


class ReadBatch(NamedTuple):
    """Rows of a file that follow each other.

    Attributes:
        first: The number of the first row, from 0.
        rows: How many there are.
        batch: The RecordBatch; None where the file is damaged.
    """

    first: int
    rows: int
    batch: Any


class ParquetRows:
    """A Parquet file.

    Args:
        stream: The file, seekable.
        name: Its name in errors.

    Raises:
        FileProblem: It is no Parquet file, or its end is damaged.
        MissingLibrary: pyarrow is not installed.

    Attributes:
        schema: The schema, of Arrow.
        names: The names of the columns, in order.
        total: The number of rows.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._pa = require_pyarrow("Parquet")
        self._name = name
        try:
            self._file = self._pa.parquet.ParquetFile(
                stream, buffer_size=_BUFFER_BYTES, pre_buffer=False
            )
            self.schema = self._file.schema_arrow
        except (OSError, self._pa.ArrowException) as error:
            # The messages of these errors may quote the content.
            reason = error.strerror if isinstance(error, OSError) else None
            raise FileProblem(f"cannot read {name}: {reason or 'damaged Parquet file'}") from None
        self.names: list[str] = list(self.schema.names)
        self.total: int = self._file.metadata.num_rows

    def batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        skip: int = 0,
        most: int = _MAX_BATCH_ROWS,
    ) -> Iterator[ReadBatch]:
        """Yield the rows in batches.

        Args:
            columns: The columns to read; None for all.
            skip: How many rows are left out at the start.
            most: Most rows of a batch.
        """
        first = 0
        for group in range(self._file.num_row_groups):
            facts = self._file.metadata.row_group(group)
            end = first + facts.num_rows
            if end > skip:
                yield from self._group(group, first, end, columns=columns, skip=skip, most=most)
            first = end

    def fields(self, columns: Sequence[str]) -> Iterator[dict[str, object]]:
        """Yield each row as fields of Python. Numbers of a ClassLabel column of `datasets` become
        its names.

        Raises:
            FileProblem: The file is damaged.
        """
        classes = _class_names(self.schema.metadata or {})
        for read in self.batches(columns=columns):
            if read.batch is None:
                raise FileProblem(f"cannot read {self._name}: damaged Parquet file")
            # Without columns, there are no rows of Python.
            values = [texts_of(read.batch.column(n)) for n in range(read.batch.num_columns)]
            for row in zip(*values, strict=True) if values else ((),) * read.rows:
                fields = dict(zip(columns, row, strict=True))
                for column in classes.keys() & fields.keys():
                    fields[column] = _class_name(fields[column], classes[column])
                yield fields

    def _group(
        self,
        group: int,
        first: int,
        end: int,
        *,
        columns: Sequence[str] | None,
        skip: int,
        most: int,
    ) -> Iterator[ReadBatch]:
        facts = self._file.metadata.row_group(group)
        average = max(1, facts.total_byte_size // max(1, facts.num_rows))
        size = max(1, min(most, _MAX_BATCH_BYTES // average))
        try:
            for batch in self._file.iter_batches(
                batch_size=size,
                row_groups=[group],
                columns=None if columns is None else list(columns),
            ):
                after = first + batch.num_rows
                if after > skip:
                    cut = batch.slice(max(0, skip - first))
                    yield ReadBatch(after - cut.num_rows, cut.num_rows, cut)
                first = after
        except (OSError, UnicodeDecodeError, self._pa.ArrowException):
            pass
        for start in range(max(first, skip), end, most):
            yield ReadBatch(start, min(most, end - start), None)


def texts_of(column: Any) -> list[object]:
    """Return the values of an Arrow column. Bytes that are not UTF-8 become lone surrogates."""
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        values = [_text_of(scalar) for scalar in column]
    return values


def _text_of(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return bytes(scalar.as_buffer()).decode("utf-8", "surrogateescape")


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the class names of each ClassLabel column, from the metadata of `datasets`."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: list(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _class_name(value: object, names: Sequence[str]) -> object:
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return None  # `datasets` marks unlabelled rows by -1
