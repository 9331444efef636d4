"""The rows of all input files as chunks, from any place on.

The chunks of an input are always the same: a run that goes on at the end of one gets the next ones
as a run that was not interrupted. Memory is bounded by a chunk, and a chunk by rows and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from sentq.files.formats import FileProblem, Format, require_pyarrow
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import START, ArrowChunk, Chunk, JsonChunk, Place, RowChunk
from sentq.files.reading.json_lines import JsonLine, read_json_lines
from sentq.files.reading.lines import TextLines, bad_byte, has_bad_byte
from sentq.files.reading.opening import (
    DAMAGED,
    check_content,
    damage_of,
    digest_of,
    is_regular_file,
    open_file,
)
from sentq.files.reading.parquet import ParquetRows, texts_of
from sentq.files.reading.records import check_column, problem_of_cells
from sentq.files.reading.separated import SeparatedRow, read_separated, separator_of
from sentq.files.reading.texts import open_for, unreadable

__all__ = ["ROWS_PER_CHUNK", "FileSource", "ReadOptions", "RowSource", "TextSource"]

#: The largest chunk: rows by default, and bytes of the rows as they were read.
ROWS_PER_CHUNK: Final = 8192
BYTES_PER_CHUNK: Final = 16 * 1024 * 1024

#: Most different keys of JSON lines that become columns of CSV or Parquet.
_MAX_KEYS: Final = 10_000

_ENCODING_ADVICE: Final = "; --encoding names another encoding, such as latin-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How input files are read.

    Attributes:
        form: The format of all of them.
        field: The key or column that holds the text.
        encoding: The encoding of texts; None for UTF-8, or what a byte order mark says.
        separator: The character between fields; None for that of the format.
        needs_columns: Whether the columns must be known, also of JSON lines.
        rows_per_chunk: Most rows of a chunk.
    """

    form: Format
    field: str = "text"
    encoding: str | None = None
    separator: str | None = None
    needs_columns: bool = False
    rows_per_chunk: int = ROWS_PER_CHUNK


class RowSource(Protocol):
    """The rows of an input."""

    @property
    def names(self) -> Sequence[str]:
        """The columns, in order, each of them once; none if they are not known beforehand."""

    @property
    def rows(self) -> int | None:
        """How many rows there are; None if that is not known beforehand."""

    def digests(self) -> list[dict[str, object]] | None:
        """Return what identifies the input: size and digest of each file. None for a pipe."""

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """Yield the rows after a place that is the end of a chunk, or the beginning."""

    def no_rows(self) -> Chunk:
        """Return a chunk without rows, which has the columns."""


class _Row(NamedTuple):
    """A row of a text file: its text, its columns, and its size in characters."""

    text: object
    columns: Any
    chars: int


class TextSource:
    """Texts that are given one by one, as rows with one column.

    Args:
        texts: The texts.
        name: The name of the column.
    """

    def __init__(self, texts: Sequence[str], name: str = "text") -> None:
        self._texts = texts
        self.names: tuple[str, ...] = (name,)
        self.rows: int | None = len(texts)

    def digests(self) -> list[dict[str, object]] | None:
        """See `RowSource`."""
        return None

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """See `RowSource`."""
        rows = (_Row(text, (text,), len(text)) for text in self._texts)
        return _chunks(rows, start, self._chunk)

    def no_rows(self) -> Chunk:
        """See `RowSource`."""
        return self._chunk([], START)

    def _chunk(self, rows: list[_Row], end: Place) -> Chunk:
        return RowChunk(
            texts=[row.text for row in rows],
            end=end,
            share=end.row / max(1, len(self._texts)),
            names=self.names,
            rows=[row.columns for row in rows],
        )


class FileSource:
    """The rows of files of one format, one file after the other.

    Args:
        files: Their names, or `-` for standard input.
        options: How they are read.
        outcomes: The columns that will be added.

    Raises:
        FileProblem: A file cannot be read, is of another format, has no column of texts, has a
            column that will be added, or has other columns than the first file.
        MissingLibrary: Parquet or zstd needs a library that is not installed.
    """

    def __init__(
        self, files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns
    ) -> None:
        self._files = files
        self._options = options
        self._outcomes = outcomes
        self._sizes = [Path(file).stat().st_size if is_regular_file(file) else 0 for file in files]
        self._json_columns: dict[str, str] = {}
        self._schema: Any = None
        self.names: Sequence[str] = ()
        self.rows: int | None = None
        self._header: Sequence[str] = ()
        if all(map(is_regular_file, files)):
            self._examine()
        elif options.form is Format.JSONL and options.needs_columns:
            raise FileProblem(
                "JSON lines of a pipe can be read only once, and so cannot become CSV or Parquet: "
                "write JSON lines, or save the input to a file first"
            )

    def digests(self) -> list[dict[str, object]] | None:
        """See `RowSource`."""
        if not all(map(is_regular_file, self._files)):
            return None
        found = [(file, *digest_of(file)) for file in self._files]
        return [
            {"name": Path(file).name, "bytes": size_bytes, "sha256": digest}
            for file, size_bytes, digest in found
        ]

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """See `RowSource`."""
        for number in range(start.file, len(self._files)):
            place = start if number == start.file else Place(number, 0)
            if self._options.form is Format.PARQUET:
                yield from self._parquet_chunks(place)
            else:
                yield from self._text_chunks(place)

    def no_rows(self) -> Chunk:
        """See `RowSource`."""
        end = Place(len(self._files), 0)
        if self._schema is not None:
            table = self._schema.empty_table()
            return ArrowChunk(texts=[], end=end, share=1, names=self.names, rows=table)
        return self._chunk_maker(lambda: 0, 0)([], end)

    # --- Before the first row ------------------------------------------------------------------

    def _examine(self) -> None:
        """Read the columns of all files, and check them."""
        match self._options.form:
            case Format.PARQUET:
                self._examine_parquet()
            case Format.JSONL:
                if self._options.needs_columns:
                    self._examine_json()
            case _:
                for file in self._files:
                    with open_file(file) as opened, self._lines(opened.stream, file) as lines:
                        self._begin_table(lines, file)

    def _examine_parquet(self) -> None:
        total = 0
        for file in self._files:
            with open_for(file, Format.PARQUET) as stream:
                rows = ParquetRows(stream, file)
            total += rows.total
            if self._schema is None:
                check_column(self._options.field, rows.names)
                self._set_header(rows.names)
                self._schema = _nullable(rows.schema)
            elif not _nullable(rows.schema).equals(self._schema):
                raise FileProblem(
                    f"{file} has other columns, or other types of columns, than {self._files[0]}: "
                    "score them one by one"
                )
        self.rows = total

    def _examine_json(self) -> None:
        kinds: dict[str, set[str]] = {}
        for file in self._files:
            with open_file(file) as opened, self._lines(opened.stream, file) as lines:
                try:
                    for line in read_json_lines(lines, name=file):
                        fields = line.value if isinstance(line.value, dict) else {}
                        for key, value in fields.items():
                            kinds.setdefault(key, set()).add(_json_type(value))
                        if len(kinds) > _MAX_KEYS:
                            raise FileProblem(
                                f"{file}: more than {_MAX_KEYS:,} different keys cannot be "
                                "columns; write JSON lines"
                            )
                except DAMAGED:
                    continue  # The run says it, at its place.
        kinds.setdefault(self._options.field, {"string"})
        self._outcomes.check([*kinds])
        self._json_columns = {key: _column_type(found) for key, found in kinds.items()}
        self.names = tuple(kinds)

    def _begin_table(self, lines: TextLines, file: str) -> Iterator[SeparatedRow]:
        """Read the header of a file with columns, and return its other rows."""
        form = self._options.form
        if form is Format.TXT:
            self._set_header([self._options.field])
            return _plain_rows(lines)
        rows = read_separated(lines, form, separator=separator_of(form, self._options.separator))
        try:
            header = next(rows, SeparatedRow(1, (), ""))
        except DAMAGED as error:
            raise FileProblem(f"cannot read {file}: {damage_of(error)}") from error
        if header.problem is not None:
            raise FileProblem(f"{file}, line {header.line}, the header: {header.problem}")
        if not self.names:
            self._check_header(header.cells, file)
            self._set_header(header.cells)
        elif header.cells != self._header:
            raise FileProblem(f"{file} has other columns than {self._files[0]}: score them apart")
        return rows

    def _check_header(self, header: Sequence[str], file: str) -> None:
        field = self._options.field
        if len(header) == 1 and field not in header and len(header[0]) < _LONGEST_HEADER_CHARS:
            for mark, name in ((";", "';'"), ("\t", "a tab"), ("|", "'|'"), (",", "','")):
                if field in header[0].split(mark):
                    raise FileProblem(f"{file} has {name} between its fields: --separator names it")
        if any("\0" in name for name in header):
            raise FileProblem(
                f"{file} has NUL characters in its header: is it UTF-16? --encoding utf-16-le"
            )
        check_column(field, header)
        if header.count(field) > 1:
            raise FileProblem(
                f"{file} has {header.count(field)} columns named {field!r}: rename those that do "
                "not have the text"
            )

    def _set_header(self, header: Sequence[str]) -> None:
        self._outcomes.check(header)
        self._header = header
        self.names = _each_once(header)

    # --- Rows ------------------------------------------------------------------------------------

    def _lines(self, stream: Any, file: str) -> TextLines:
        options = self._options
        try:
            lines = TextLines(
                stream,
                encoding=options.encoding,
                ends="\n" if options.form is Format.JSONL else "any",
            )
        except DAMAGED as error:
            raise FileProblem(f"cannot read {file}: {damage_of(error)}") from error
        check_content(lines.head, file)
        return lines

    def _text_chunks(self, start: Place) -> Iterator[Chunk]:
        file = self._files[start.file]
        with open_file(file) as opened, self._lines(opened.stream, file) as lines:
            if self._options.form is Format.JSONL:
                rows = self._json_rows(read_json_lines(lines, name=file))
            else:
                rows = self._cell_rows(self._begin_table(lines, file), lines.encoding)
            make = self._chunk_maker(opened.read_bytes, start.file)
            yield from _chunks(_until_damage(rows), start, make, self._options.rows_per_chunk)

    def _cell_rows(self, rows: Iterator[SeparatedRow], encoding: str) -> Iterator[_Row]:
        place = self._header.index(self._options.field)
        for row in rows:
            problem = row.problem or problem_of_cells(row, self._header)
            if problem is not None:
                yield _Row(unreadable(f"line {row.line}", problem), None, len(row.text))
            elif row.cells:
                text: object = row.cells[place]
                if has_bad_byte(row.cells[place]):
                    where = bad_byte(row.text, encoding, first_line=row.line)
                    text = unreadable(f"line {row.line}", f"{where}{_ENCODING_ADVICE}")
                yield _Row(text, row.cells, len(row.text))

    def _json_rows(self, lines: Iterator[JsonLine]) -> Iterator[_Row]:
        field, reserved = self._options.field, frozenset(self._outcomes.names)
        for line in lines:
            where = f"line {line.line}"
            if line.problem is not None:
                advice = _ENCODING_ADVICE if line.has_bad_byte else ""
                yield _Row(unreadable(where, line.problem + advice), None, len(line.text))
            elif not isinstance(line.value, dict):
                yield _Row(line.value, _object_of(field, line.text), len(line.text))
            else:
                text = line.value.get(field, unreadable(where, f"no key {field!r}"))
                columns = line.text
                if not reserved.isdisjoint(line.value):
                    kept = {key: each for key, each in line.value.items() if key not in reserved}
                    columns = _dumps(kept)
                yield _Row(text, columns, len(columns))

    def _chunk_maker(
        self, read_bytes: Callable[[], int], file: int
    ) -> Callable[[list[_Row], Place], Chunk]:
        before, total = sum(self._sizes[:file]), sum(self._sizes)

        def make(rows: list[_Row], end: Place) -> Chunk:
            share = (before + read_bytes()) / total if total else None
            texts, columns = [row.text for row in rows], [row.columns for row in rows]
            if self._options.form is Format.JSONL:
                return JsonChunk(
                    texts=texts, end=end, share=share, rows=columns, columns=self._json_columns
                )
            return RowChunk(texts=texts, end=end, share=share, names=self.names, rows=columns)

        return make

    def _parquet_chunks(self, start: Place) -> Iterator[Chunk]:
        file = self._files[start.file]
        with open_for(file, Format.PARQUET) as stream:
            parquet = ParquetRows(stream, file)
            if self._schema is None:  # Standard input.
                check_column(self._options.field, parquet.names)
                self._set_header(parquet.names)
                self._schema, self.rows = _nullable(parquet.schema), parquet.total
            yield from self._arrow_chunks(parquet, start)

    def _arrow_chunks(self, parquet: ParquetRows, start: Place) -> Iterator[Chunk]:
        pa = require_pyarrow("Parquet")
        column = parquet.names.index(self._options.field)
        before, total = sum(self._sizes[: start.file]), max(1, sum(self._sizes))
        size = self._sizes[start.file]
        tables: list[Any] = []
        texts: list[object] = []
        size_bytes = 0

        def chunk(row: int) -> Chunk:
            share = (before + size * row / max(1, parquet.total)) / total
            table = pa.concat_tables(tables)
            end = Place(start.file, row)
            return ArrowChunk(texts=texts, end=end, share=share, names=self.names, rows=table)

        for read in parquet.batches(skip=start.row, most=self._options.rows_per_chunk):
            if read.batch is None:
                numbers = range(read.first + 1, read.first + read.rows + 1)
                texts += [unreadable(f"row {n}", "damaged Parquet file") for n in numbers]
                tables.append(_nulls(self._schema, read.rows))
            else:
                texts += texts_of(read.batch.column(column))
                tables.append(pa.Table.from_arrays(read.batch.columns, schema=self._schema))
                size_bytes += read.batch.nbytes
            if len(texts) >= self._options.rows_per_chunk or size_bytes >= BYTES_PER_CHUNK:
                yield chunk(read.first + read.rows)
                tables, texts, size_bytes = [], [], 0
        if texts:
            yield chunk(parquet.total)


#: A longer first line is no header.
_LONGEST_HEADER_CHARS: Final = 10_000


def _chunks(
    rows: Iterable[_Row],
    start: Place,
    make: Callable[[list[_Row], Place], Chunk],
    most: int = ROWS_PER_CHUNK,
) -> Iterator[Chunk]:
    """Yield rows in chunks, without those before a place."""
    found: list[_Row] = []
    chars = number = 0
    for row in rows:
        number += 1
        if number <= start.row:
            continue
        found.append(row)
        chars += row.chars
        if len(found) >= most or chars >= BYTES_PER_CHUNK:
            yield make(found, Place(start.file, number))
            found, chars = [], 0
    if found:
        yield make(found, Place(start.file, number))


def _until_damage(rows: Iterator[_Row]) -> Iterator[_Row]:
    """Yield rows; where the file is damaged, one row that says so is the last one."""
    number = 0
    try:
        for row in rows:
            number += 1
            yield row
    except DAMAGED as error:
        problem = f"{damage_of(error)}: what follows cannot be read"
        yield _Row(unreadable(f"after row {number}", problem), None, 0)


def _plain_rows(lines: TextLines) -> Iterator[SeparatedRow]:
    for number, line in enumerate(lines, start=1):
        yield SeparatedRow(number, (line.text.rstrip("\r\n"),), line.text)


def _each_once(names: Sequence[str]) -> tuple[str, ...]:
    """Return names so that each is there once: a second `a` is `a_2`."""
    found: dict[str, None] = {}
    for name in names:
        unique, number = name, 1
        while unique in found or (number > 1 and unique in names):
            number += 1
            unique = f"{name}_{number}"
        found[unique] = None
    return tuple(found)


def _object_of(field: str, text: str) -> str:
    """Return the JSON object of a line that is no object."""
    return "{" + _dumps(field) + ":" + text + "}"


def _dumps(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int64" if -(2**63) <= value < 2**63 else "string"
        case float():
            return "double"
        case str():
            return "string"
        case _:
            return "json"


def _column_type(found: set[str]) -> str:
    kinds = found - {"null"}
    if kinds == {"int64", "double"}:
        return "double"
    return kinds.pop() if len(kinds) == 1 and not kinds & {"json"} else "string"


def _nullable(schema: Any) -> Any:
    """Return a schema that takes rows that cannot be read, which have no values."""
    pa = require_pyarrow("Parquet")
    return pa.schema([field.with_nullable(nullable=True) for field in schema], schema.metadata)


def _nulls(schema: Any, rows: int) -> Any:
    pa = require_pyarrow("Parquet")
    return pa.Table.from_arrays([pa.nulls(rows, kind) for kind in schema.types], schema=schema)
