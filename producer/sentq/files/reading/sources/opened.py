"""The source that reads files of a format."""

from __future__ import annotations

from collections.abc import Sequence

from sentq.files.formats import Format
from sentq.files.outcomes import OutcomeColumns
from sentq.files.reading.sources.base import ReadOptions, RowSource
from sentq.files.reading.sources.cells import CellSource
from sentq.files.reading.sources.objects import ObjectSource
from sentq.files.reading.sources.tables import TableSource

__all__ = ["open_source"]


def open_source(files: Sequence[str], options: ReadOptions, outcomes: OutcomeColumns) -> RowSource:
    """Return the rows of files, one file after the other. Their columns are checked now.

    Args:
        files: Their names, or `-` for standard input.
        options: How they are read.
        outcomes: The columns that will be added.

    Raises:
        FileProblem: A file cannot be read, is of another format, has no column of texts, has a
            column that will be added, or has other columns than the first file.
        MissingLibrary: Parquet or zstd needs a library that is not installed.
    """
    match options.form:
        case Format.PARQUET:
            return TableSource(files, options, outcomes)
        case Format.JSONL:
            return ObjectSource(files, options, outcomes)
        case _:
            return CellSource(files, options, outcomes)
