"""Rows of JSON lines, and the columns that all of them have together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sentq.files.formats import FileProblem
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import Chunk, JsonChunk, Place
from sentq.files.reading.json_lines import read_json_lines
from sentq.files.reading.lines import TextLines
from sentq.files.reading.opening import DAMAGED
from sentq.files.reading.sources.base import ENCODING_ADVICE, ReadOptions
from sentq.files.reading.sources.cutting import TextRow
from sentq.files.reading.sources.text_file import TextFileSource
from sentq.files.reading.texts import unreadable

__all__ = ["ObjectSource"]

#: Most different keys that become columns of CSV or Parquet.
_MAX_KEYS: Final = 10_000

#: The integers of Arrow's int64.
_INT64: Final = range(-(2**63), 2**63)


class ObjectSource(TextFileSource):
    """A `RowSource` of JSON lines. If the columns must be known, all files are read beforehand.

    Raises:
        FileProblem: A file cannot be read or is a JSON document; the columns must be known, and
            have one that will be added, or the input can be read only once.
    """

    def __init__(
        self, files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns
    ) -> None:
        super().__init__(files, options, outcomes)
        self._columns: Mapping[str, str] = {}
        if options.needs_columns:
            self._columns = self._read_columns()
            outcomes.check([*self._columns])

    def text_rows(self, lines: TextLines, file: str) -> Iterator[TextRow]:
        """See `TextFileSource`."""
        field, reserved = self.options.field, frozenset(self.outcomes.names)
        for line in read_json_lines(lines, name=file):
            where = f"line {line.line}"
            if line.problem is not None:
                advice = ENCODING_ADVICE if line.has_bad_byte else ""
                yield TextRow(unreadable(where, line.problem + advice), None, len(line.text))
            elif not isinstance(line.value, dict):
                yield TextRow(line.value, _object_of(field, line.text), len(line.text))
            else:
                text = line.value.get(field, unreadable(where, f"no key {field!r}"))
                columns = line.text
                if not reserved.isdisjoint(line.value):
                    kept = {key: each for key, each in line.value.items() if key not in reserved}
                    columns = json.dumps(kept, ensure_ascii=False)
                yield TextRow(text, columns, len(columns))

    def chunk(self, rows: list[TextRow], end: Place, share: float | None) -> Chunk:
        """See `TextFileSource`."""
        return JsonChunk(
            texts=[row.text for row in rows],
            end=end,
            share=share,
            rows=[row.columns for row in rows],
            columns=self._columns,
        )

    def _read_columns(self) -> dict[str, str]:
        """Return the keys of all objects with their types, in the order in which they come."""
        if not self.is_regular:
            raise FileProblem(
                "JSON lines of a pipe can be read only once, and so cannot become CSV or Parquet: "
                "write JSON lines, or save the input to a file first"
            )
        kinds: dict[str, set[str]] = {}
        for file in self.files:
            with self.open(file) as opened:
                try:
                    _add_kinds(opened.lines, file, kinds)
                except DAMAGED:
                    continue  # The run says it, at its place.
        kinds.setdefault(self.options.field, {"string"})
        return {key: _column_type(found) for key, found in kinds.items()}


def _add_kinds(lines: TextLines, file: str, kinds: dict[str, set[str]]) -> None:
    """Add the types of all values of a file, by their keys."""
    for line in read_json_lines(lines, name=file):
        if isinstance(line.value, dict):
            for key, value in line.value.items():
                kinds.setdefault(key, set()).add(_json_type(value))
        if len(kinds) > _MAX_KEYS:
            raise FileProblem(
                f"{file}: more than {_MAX_KEYS:,} keys cannot be columns; write JSON lines"
            )


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int64" if value in _INT64 else "json"
        case float():
            return "double"
        case str():
            return "string"
        case _:
            return "json"


def _column_type(found: set[str]) -> str:
    """Return the type of a column of Arrow for values of these types."""
    kinds = found - {"null"}
    if kinds == {"int64", "double"}:
        return "double"
    return kinds.pop() if len(kinds) == 1 and "json" not in kinds else "string"


def _object_of(field: str, text: str) -> str:
    """Return the JSON object of a line that is no object."""
    return "{" + json.dumps(field, ensure_ascii=False) + ":" + text + "}"
