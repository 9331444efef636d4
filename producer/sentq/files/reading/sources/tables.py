"""Rows of Parquet, with all their columns as Arrow has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sentq.files.formats import FileProblem, Format, require_pyarrow
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.chunks import ArrowChunk, Chunk, Place
from sentq.files.reading.parquet import ParquetRows, ReadBatch, texts_of
from sentq.files.reading.records import check_column
from sentq.files.reading.sources.base import BYTES_PER_CHUNK, FileSource, ReadOptions
from sentq.files.reading.sources.cells import each_once
from sentq.files.reading.texts import open_for, unreadable

__all__ = ["TableSource"]


class TableSource(FileSource):
    """A `RowSource` of Parquet files.

    Raises:
        FileProblem: A file is no Parquet, has no column of texts, has a column that will be added,
            or has other columns than the first file.
        MissingLibrary: pyarrow is not installed.
    """

    def __init__(
        self, files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns
    ) -> None:
        super().__init__(files, options, outcomes)
        self._pa: Any = require_pyarrow("Parquet")
        self._schema: Any = None
        total = 0
        for file in files if self.is_regular else ():
            with open_for(file, Format.PARQUET) as stream:
                parquet = ParquetRows(stream, file)
            self._check(parquet, file)
            total += parquet.total
            self.rows = total

    def file_chunks(self, start: Place) -> Iterator[Chunk]:
        """See `FileSource`."""
        file = self.files[start.file]
        with open_for(file, Format.PARQUET) as stream:
            parquet = ParquetRows(stream, file)
            self._check(parquet, file)
            yield from self._cut(parquet, start)

    def no_rows(self) -> Chunk:
        """See `RowSource`."""
        return self._chunk([self._schema.empty_table()], [], self.end, 1.0)

    def _check(self, parquet: ParquetRows, file: str) -> None:
        schema = self._nullable(parquet.schema)
        if self._schema is None:
            check_column(self.options.field, parquet.names)
            self.outcomes.check(parquet.names)
            self._schema = schema
        elif not schema.equals(self._schema):
            raise FileProblem(
                f"{file} has other columns, or other types of columns, than {self.files[0]}: "
                "score them one by one"
            )

    def _cut(self, parquet: ParquetRows, start: Place) -> Iterator[Chunk]:
        tables: list[Any] = []
        texts: list[object] = []
        size_bytes = 0
        most = self.options.rows_per_chunk
        for read in parquet.batches(skip=start.row, most=most):
            tables.append(self._table(read))
            texts += self._texts(read)
            size_bytes += tables[-1].nbytes
            if len(texts) >= most or size_bytes >= BYTES_PER_CHUNK:
                end = Place(start.file, read.first + read.rows)
                yield self._chunk(tables, texts, end, end.row / parquet.total)
                tables, texts, size_bytes = [], [], 0
        if texts:
            yield self._chunk(tables, texts, Place(start.file, parquet.total), 1.0)

    def _chunk(
        self, tables: Sequence[Any], texts: list[object], end: Place, share_of_file: float
    ) -> Chunk:
        file = min(end.file, len(self.files) - 1)
        return ArrowChunk(
            texts=texts,
            end=end,
            share=self.share(file, share_of_file),
            names=each_once(self._schema.names),
            rows=self._pa.concat_tables(tables),
        )

    def _table(self, read: ReadBatch) -> Any:
        if read.batch is None:
            arrays = [self._pa.nulls(read.rows, kind) for kind in self._schema.types]
            return self._pa.Table.from_arrays(arrays, schema=self._schema)
        return self._pa.Table.from_arrays(read.batch.columns, schema=self._schema)

    def _texts(self, read: ReadBatch) -> list[object]:
        if read.batch is None:
            numbers = range(read.first + 1, read.first + read.rows + 1)
            return [unreadable(f"row {n}", "damaged Parquet file") for n in numbers]
        return texts_of(read.batch.column(self._schema.names.index(self.options.field)))

    def _nullable(self, schema: Any) -> Any:
        """Return a schema that takes rows that cannot be read, which have no values."""
        fields = [field.with_nullable(nullable=True) for field in schema]
        return self._pa.schema(fields, schema.metadata)
