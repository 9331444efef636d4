"""Labelled rows out of JSON-lines files, checked one by one.

A row is an object with `text` and `label`, both strings; any other field serves `Filter`.
No error quotes a text: it names the file and the line.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Filter", "Rows", "Source", "read_rows"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data file and the share of its rows to draw anew for each epoch (2 = each row twice)."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, argument: str) -> Source:
        """Read `FILE` or `FILE@WEIGHT`; an `@` that no number follows is part of the name.

        Raises:
            TrainingOptionsError: the weight is not a positive finite number.
        """
        name, at, tail = argument.rpartition("@")
        weight = _number(tail) if at else None
        if weight is None:
            return cls(Path(argument))
        if not (math.isfinite(weight) and weight > 0):
            raise TrainingOptionsError(f"the weight of {name} must be a positive number")
        return cls(Path(name), weight)

    @property
    def label(self) -> str:
        """The file's name without its folder, and its weight unless that is 1."""
        return self.path.name if self.weight == 1 else f"{self.path.name}@{self.weight:g}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps rows whose `field` has this value, and all rows that lack the field."""

    field: str
    value: str

    @classmethod
    def parse(cls, argument: str) -> Filter:
        """Read `FIELD=VALUE`; numbers, true, false and null are written as in JSON.

        Raises:
            TrainingOptionsError: there is no `=`, or nothing before it.
        """
        field, equals, value = argument.partition("=")
        if not (field and equals):
            raise TrainingOptionsError(f"a filter is written FIELD=VALUE, not {argument!r}")
        return cls(field, value)

    @property
    def label(self) -> str:
        return f"{self.field}={self.value}"

    def keeps(self, row: dict[str, Any]) -> bool:
        if self.field not in row:
            return True
        value = row[self.field]
        return (value if isinstance(value, str) else orjson.dumps(value).decode()) == self.value


@dataclass(frozen=True, slots=True)
class Rows:
    """The kept rows of one file, in the file's order; `digest` changes when any of them does."""

    name: str
    texts: list[str]
    labels: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.texts)


def read_rows(path: Path, filters: Sequence[Filter] = ()) -> Rows:
    """Read a .jsonl or .jsonl.gz file.

    Raises:
        TrainingDataError: the file cannot be read, keeps no row, or the row at the line that the
            message names is no object with a non-empty text and label.
    """
    texts: list[str] = []
    labels: list[str] = []
    digest = hashlib.blake2b(digest_size=16)
    for number, line in _lines(path):
        row = _checked(line, where=f"{path.name}, line {number}")
        if all(one.keeps(row) for one in filters):
            texts.append(row["text"])
            labels.append(row["label"])
            digest.update(f"{row['label']}\0{row['text']}\0".encode())
    if not texts:
        raise TrainingDataError(f"{path.name} has no rows left to use: check it and the filters")
    return Rows(path.name, texts, labels, digest.hexdigest())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise TrainingDataError(f"cannot read {path}: {reason or 'damaged gzip file'}") from error


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _checked(line: bytes, *, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        # The decoder's error carries the whole line: it must not travel with ours.
        raise TrainingDataError(f"{where}: not valid JSON in UTF-8") from None
    if not isinstance(row, dict):
        raise TrainingDataError(f"{where}: not a JSON object; write one object per line")
    for field in ("text", "label"):
        value = row.get(field)
        if not isinstance(value, str):
            kind = "missing" if field not in row else f"a {type(value).__name__}, not a string"
            raise TrainingDataError(f"{where}: the field {field!r} is {kind}")
        if not value.strip():
            raise TrainingDataError(f"{where}: the field {field!r} is empty")
    return row


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
