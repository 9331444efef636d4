"""Labelled rows from files and Hub datasets, each of them checked.

A row has a text and a label, and scores in place of the label or beside it if `Columns` names their
field; `Filter` may use any other field. Errors name the file and the line, and never quote a text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from sentq_worker.training.data.formats import has_known_format, read_labelled
from sentq_worker.training.data.hub_dataset import DatasetId, fetch_dataset
from sentq_worker.training.data.scores import (
    InvalidScores,
    most_probable,
    parse_scores,
    renamed,
)
from sentq_worker.training.errors import TrainingDataError, TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sentq_worker.training.data.formats import LabelledRecord

__all__ = ["Columns", "Filter", "Rows", "Source", "read_rows", "shown_labels"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data file, and the share of its rows that each epoch draws (2: each row twice)."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, argument: str) -> Source:
        """Parse `FILE` or `FILE@WEIGHT`; an `@` without a number after it is part of the name.

        Raises:
            TrainingOptionsError: The weight is not a positive finite number.
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
        """The name of the file without its folder, and its weight unless that is 1."""
        return self.path.name if self.weight == 1 else f"{self.path.name}@{self.weight:g}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the rows whose `field` has this value, and all rows without the field."""

    field: str
    value: str

    @classmethod
    def parse(cls, argument: str) -> Filter:
        """Parse `FIELD=VALUE`; numbers, true, false and null are written as in JSON.

        Raises:
            TrainingOptionsError: There is no `=`, or nothing before it.
        """
        field, equals, value = argument.partition("=")
        if not (field and equals):
            raise TrainingOptionsError(f"a filter is written FIELD=VALUE, not {argument!r}")
        return cls(field, value)

    @property
    def label(self) -> str:
        """The filter as it is written on the command line."""
        return f"{self.field}={self.value}"

    def keeps(self, row: Mapping[str, object]) -> bool:
        """Tell whether the filter keeps a row with these fields."""
        return self.field not in row or _as_written(row[self.field]) == self.value


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields that hold the text and the label of a row, and the names of the labels.

    `names` maps a label as it is written in the data (numbers as in JSON) to its new name, or to
    None for rows that are dropped. A label that is not in `names` keeps its name. `scores` is the
    field that may hold the probability of each label, or None if such a field is not read.
    """

    text: str = "text"
    label: str = "label"
    names: Mapping[str, str | None] = field(default_factory=dict)
    scores: str | None = None

    @classmethod
    def parse(
        cls, *, text: str, label: str, names: Sequence[str], scores: str | None = None
    ) -> Columns:
        """Parse the names from `OLD=NEW`; `OLD=` drops the rows with this label.

        Raises:
            TrainingOptionsError: A name has no `=`, or nothing before it.
        """
        pairs = {}
        for argument in names:
            # Split at the last `=`: an old name may contain one, a new name need not.
            old, equals, new = argument.rpartition("=")
            if not (old and equals):
                raise TrainingOptionsError(f"a label is renamed by OLD=NEW, not {argument!r}")
            pairs[old] = new or None
        return cls(text, label, pairs, scores)

    @property
    def fields(self) -> set[str]:
        """The fields that are read of a row."""
        return {self.text, self.label, *([self.scores] if self.scores else [])}


@dataclass(frozen=True, slots=True)
class Rows:
    """The kept rows of one source, in the order of its file; `digest` identifies their content.

    `places` holds the line number of each row, or the row number in a format without lines. It is
    empty if the rows are from several files. `scores` holds the probabilities of the labels of each
    row, which add up to 1, or None for a row that has only its label. It is empty if no row has
    probabilities.
    """

    name: str
    texts: list[str]
    labels: list[str]
    digest: str
    places: list[int] = field(default_factory=list)
    scores: list[dict[str, float] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def distributions(self) -> list[Mapping[str, float]]:
        """The probabilities of the labels of each row; the label of a row without scores has 1."""
        scores = self.scores or [None] * len(self)
        pairs = zip(self.labels, scores, strict=True)
        return [{label: 1.0} if each is None else each for label, each in pairs]

    @property
    def label_names(self) -> set[str]:
        """All labels of the rows, those of their scores included."""
        return {*self.labels, *(label for each in self.scores for label in each or ())}


_DEFAULT_COLUMNS = Columns()

#: More labels than these, or longer ones, are probably texts of a field that was named by mistake.
_MAX_SHOWN_LABELS: Final = 24
_MAX_SHOWN_CHARS: Final = 40


def read_rows(
    path: Path, filters: Sequence[Filter] = (), columns: Columns = _DEFAULT_COLUMNS
) -> Rows:
    """Read a file, or a split of a Hub dataset.

    Args:
        path: A .jsonl, .csv, .tsv (each also .gz) or .parquet file. If there is no such file,
            `owner/name`, `owner/name:split` or `owner/name:config:split` names a Hub dataset.
        filters: A row is kept if all filters keep it.
        columns: The fields of text, label and scores. A row that has scores needs no label: it gets
            the most probable one.

    Raises:
        TrainingDataError: The file cannot be read, no row is kept, or the row at the line in the
            message has no text, no label, or invalid scores.
        MissingExtra: Parquet needs a library that is not installed.
    """
    name, files = _files(path)
    wanted = columns.fields | {one.field for one in filters}
    rows = Rows(name, [], [], "")
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        for record in read_labelled(file, wanted=wanted):
            if not all(one.keeps(record.fields) for one in filters):
                continue
            where = f"{name}, {record.unit} {record.number}"
            text, (label, scores) = _text(record, columns, where), _target(record, columns, where)
            if label is not None:
                rows.texts.append(text)
                rows.labels.append(label)
                rows.places.append(record.number)
                rows.scores.append(scores)
                digest.update(f"{label}\0{text}\0".encode())
                digest.update(orjson.dumps(scores, option=orjson.OPT_SORT_KEYS) if scores else b"")
    if not rows.texts:
        raise TrainingDataError(f"{name} has no rows left to use: check it and the filters")
    places = rows.places if len(files) == 1 else []
    scored = rows.scores if any(rows.scores) else []
    return Rows(name, rows.texts, rows.labels, digest.hexdigest(), places, scored)


def shown_labels(labels: Collection[str]) -> str:
    """Return labels for a message; not their names if they may be texts of people."""
    if len(labels) > _MAX_SHOWN_LABELS or any(len(label) > _MAX_SHOWN_CHARS for label in labels):
        return (
            f"{len(labels):,} of them, not shown here because they may be texts; --label-field "
            "names the field of the labels"
        )
    return ", ".join(sorted(labels))


def _files(path: Path) -> tuple[str, list[Path]]:
    """Return the name of the source, and its files."""
    dataset = DatasetId.parse(path.as_posix())
    if dataset is None or has_known_format(path) or path.exists():
        return path.name, [path]
    return path.as_posix(), fetch_dataset(dataset)


def _text(record: LabelledRecord, columns: Columns, where: str) -> str:
    value = record.fields.get(columns.text)
    if not isinstance(value, str):
        raise _not_a_string(record, columns.text, where, "--text-field")
    if not value.strip():
        raise TrainingDataError(f"{where}: the field {columns.text!r} is empty")
    return value


def _target(
    record: LabelledRecord, columns: Columns, where: str
) -> tuple[str | None, dict[str, float] | None]:
    """Return the label, None for a row that is dropped, and the scores if the row has any."""
    scores = _scores(record, columns, where)
    if scores is None or record.fields.get(columns.label) not in (None, ""):
        label = _label(record, columns, where)
    else:
        first = most_probable(scores)
        label = columns.names.get(first, first)
    if scores is None or label is None:
        return label, None
    try:
        return label, renamed(scores, columns.names)
    except InvalidScores as error:
        raise TrainingDataError(f"{where}: the field {columns.scores!r} {error}") from None


def _scores(record: LabelledRecord, columns: Columns, where: str) -> dict[str, float] | None:
    if columns.scores is None:
        return None
    try:
        return parse_scores(record.fields.get(columns.scores))
    except InvalidScores as error:
        raise TrainingDataError(f"{where}: the field {columns.scores!r} {error}") from None


def _label(record: LabelledRecord, columns: Columns, where: str) -> str | None:
    value = record.fields.get(columns.label)
    written = _as_written(value)
    if columns.label in record.fields and written in columns.names:
        return columns.names[written]
    if isinstance(value, int | float):
        raise TrainingDataError(
            f"{where}: the field {columns.label!r} is a number, not a string;"
            " name the labels, as with --label-map 0=negative --label-map 1=positive"
        )
    if not isinstance(value, str):
        raise _not_a_string(record, columns.label, where, "--label-field")
    if not value.strip():
        raise TrainingDataError(f"{where}: the field {columns.label!r} is empty")
    return value


def _not_a_string(record: LabelledRecord, field: str, where: str, option: str) -> TrainingDataError:
    if field not in record.fields:
        return TrainingDataError(f"{where}: the field {field!r} is missing; {option} names another")
    kind = type(record.fields[field]).__name__
    return TrainingDataError(f"{where}: the field {field!r} is a {kind}, not a string")


def _as_written(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # such as a date from Parquet
        return str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
