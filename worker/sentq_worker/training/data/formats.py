"""Readers of data files: JSON lines, CSV and TSV (each also .gz or .zst), and Parquet.

The rules of a format are documented in `sentq.files.reading.records`. Here every row must be valid,
and has fields. Errors name the file and the line, and never quote the content of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentq.files import FileProblem, Format, MissingLibrary
from sentq.files.formats import SUFFIXES
from sentq.files.reading.records import read_records
from sentq.files.reading.texts import open_for
from sentq_worker.training.errors import MissingExtra, TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from sentq.files.reading.records import DataRecord

__all__ = ["LabelledRecord", "has_known_format", "read_labelled"]


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """One row: its number, counted from 1 in `unit`s (line or row), and its fields."""

    number: int
    unit: str
    fields: dict[str, object]


def has_known_format(path: Path) -> bool:
    """Tell whether the suffix of the file names a known format."""
    return Format.of(path.name) not in {None, Format.TXT}


def read_labelled(path: Path, *, wanted: Collection[str]) -> Iterator[LabelledRecord]:
    """Read a file in the format that its suffix names.

    Args:
        wanted: The fields that the caller uses; from Parquet, only these are read.

    Raises:
        TrainingDataError: The file is missing, damaged, or of an unknown kind, or the line in
            the message cannot be read.
        MissingExtra: Parquet needs a library that is not installed.
    """
    form = Format.of(path.name)
    if form is None or form is Format.TXT:
        known = ", ".join(suffix for suffix, each in SUFFIXES.items() if each.has_columns)
        raise TrainingDataError(
            f"{path.name}: the name does not say what is in it; known are {known}"
            " (each also with .gz or .zst)"
        )
    try:
        with open_for(str(path), form) as stream:
            for record in read_records(stream, form, name=path.name, wanted=wanted):
                yield LabelledRecord(record.number, record.unit, _fields(record, path.name))
    except MissingLibrary as error:
        raise MissingExtra(str(error)) from error
    except FileProblem as error:
        raise TrainingDataError(str(error)) from None


def _fields(record: DataRecord, name: str) -> dict[str, object]:
    """Return the fields of a valid row.

    Raises:
        TrainingDataError: The row cannot be read.
    """
    where = f"{name}, {record.unit} {record.number}"
    if record.problem is not None:
        raise TrainingDataError(f"{where}: {record.problem}")
    fields = record.value
    if not isinstance(fields, dict):
        raise TrainingDataError(f"{where}: not a JSON object; write one object per line")
    try:
        for value in fields.values():
            if isinstance(value, str):
                value.encode()
    except UnicodeEncodeError:  # Bytes that are not UTF-8 were read as lone surrogates.
        raise TrainingDataError(f"{where}: not valid UTF-8") from None
    return fields
