"""Readers of data files: JSON lines, CSV and TSV (each also .gz), and Parquet.

The rules of a format are documented at its function. Errors name the file and the line, and
never quote the content of a row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import orjson

from sentq_worker.training.errors import TrainingDataError
from sentq_worker.training.extra import training_extra

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["DataRecord", "has_known_format", "read_records"]

#: A CSV field may be as long as a text; the default limit of the csv module is 131,072.
_MAX_CSV_FIELD_CHARS = 2**31 - 1

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SUFFIXES = (*_JSON_SUFFIXES, ".csv", ".tsv", ".parquet")

_ROWS_PER_PARQUET_BATCH = 4096


@dataclass(frozen=True, slots=True)
class DataRecord:
    """One row: its number, counted from 1 in `unit`s (line or row), and its fields."""

    number: int
    unit: str
    fields: dict[str, object]


def has_known_format(path: Path) -> bool:
    """Tell whether the suffix of the file names a known format."""
    return _suffix(path) in _SUFFIXES


def read_records(path: Path, *, wanted: Collection[str]) -> Iterator[DataRecord]:
    """Read a file in the format that its suffix names.

    Args:
        wanted: The fields that the caller uses; from Parquet, only these are read.

    Raises:
        TrainingDataError: The file is missing, damaged, or of an unknown kind, or the line in
            the message cannot be read.
        MissingExtra: Parquet needs a library that is not installed.
    """
    suffix = _suffix(path)
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise TrainingDataError(
            f"{path.name}: the name does not say what is in it; known are {known}"
            " (all but .parquet also with .gz)"
        )
    if suffix == ".parquet":
        return _parquet(path, wanted)
    if suffix in _JSON_SUFFIXES:
        return _json_lines(path)
    return _separated(path, is_tsv=suffix == ".tsv")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix if not name.endswith(".parquet.gz") else ""


def _json_lines(path: Path) -> Iterator[DataRecord]:
    """Yield one record per line, which is a JSON object; empty lines are skipped."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            # The error of the decoder contains the whole line, and must not be chained.
            raise TrainingDataError(f"{where}: not valid JSON in UTF-8") from None
        if not isinstance(row, dict):
            raise TrainingDataError(f"{where}: not a JSON object; write one object per line")
        yield DataRecord(number, "line", row)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _opened(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> BinaryIO:
    is_compressed = path.name.lower().endswith(".gz")
    return cast("BinaryIO", gzip.open(path)) if is_compressed else path.open("rb")


def _unreadable(path: Path, error: Exception) -> TrainingDataError:
    reason = error.strerror if isinstance(error, OSError) else None
    return TrainingDataError(f"cannot read {path}: {reason or 'damaged gzip file'}")


def _separated(path: Path, *, is_tsv: bool) -> Iterator[DataRecord]:
    """Yield one record per row; the first row is the header.

    CSV follows RFC 4180: fields with commas or line ends are quoted. TSV follows IANA's
    text/tab-separated-values: a quote is an ordinary character. The published TSV files of GLUE
    have unpaired quotes, which would otherwise join all following lines to one field.
    """
    rows = _separated_rows(path, is_tsv=is_tsv)
    _, header = next(rows, (1, []))
    if len(set(header)) < len(header):
        raise TrainingDataError(f"{path.name}, line 1: two columns have the same name")
    for number, row in rows:
        if row:
            where = f"{path.name}, line {number}"
            yield DataRecord(number, "line", _fields(header, row, where))


def _separated_rows(path: Path, *, is_tsv: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line."""
    csv.field_size_limit(_MAX_CSV_FIELD_CHARS)
    first_line = 1
    try:
        # newline="": the csv module needs unchanged line ends inside quotes.
        with io.TextIOWrapper(
            _opened(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as stream:
            rows = csv.reader(
                stream,
                delimiter="\t" if is_tsv else ",",
                quoting=csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL,
                strict=True,
            )
            for row in rows:
                yield first_line, row
                first_line = rows.line_num + 1
    except csv.Error:
        raise TrainingDataError(
            f"{path.name}, line {first_line}: not valid CSV; is a quote left open?"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _fields(header: Sequence[str], row: list[str], where: str) -> dict[str, object]:
    if len(row) != len(header):
        raise TrainingDataError(
            f"{where}: {len(row)} fields, where the header has {len(header)};"
            " a text that contains the separator must be quoted (CSV), and is impossible in TSV"
        )
    if any("\udc80" <= character <= "\udcff" for field in row for character in field):
        raise TrainingDataError(f"{where}: not valid UTF-8")
    return dict(zip(header, row, strict=True))


def _parquet(path: Path, wanted: Collection[str]) -> Iterator[DataRecord]:
    """Yield one record per row; numbers of a ClassLabel column of `datasets` become its names."""
    with training_extra():
        import pyarrow as pa
        from pyarrow import parquet
    try:
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            schema = file.schema_arrow
            classes = _class_names(schema.metadata or {})
            columns = [name for name in schema.names if name in wanted]
            batches = file.iter_batches(batch_size=_ROWS_PER_PARQUET_BATCH, columns=columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, fields in enumerate(rows, start=1):
                for name in classes.keys() & fields.keys():
                    fields[name] = _class_name(fields[name], classes[name])
                yield DataRecord(number, "row", fields)
    except OSError as error:
        reason = error.strerror or "damaged Parquet file"
        raise TrainingDataError(f"cannot read {path}: {reason}") from None
    except (pa.ArrowException, UnicodeDecodeError):
        # The messages of these errors may quote the content.
        raise TrainingDataError(f"cannot read {path}: damaged Parquet file") from None


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
