"""Texts that are given one by one, as rows with one column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sentq.files.reading.chunks import START, Chunk, Place, RowChunk
from sentq.files.reading.sources.base import ROWS_PER_CHUNK
from sentq.files.reading.sources.cutting import TextRow, cut

__all__ = ["TextSource"]


class TextSource:
    """A `RowSource` of texts.

    Args:
        texts: The texts.
        name: The name of the column.
    """

    def __init__(self, texts: Sequence[str], name: str = "text") -> None:
        self._texts = texts
        self._names = (name,)
        self.rows: int | None = len(texts)

    def digests(self) -> list[dict[str, object]] | None:
        """See `RowSource`."""
        return None

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """See `RowSource`."""
        rows = (TextRow(text, (text,), len(text)) for text in self._texts)
        return cut(rows, start, self._chunk, most=ROWS_PER_CHUNK)

    def no_rows(self) -> Chunk:
        """See `RowSource`."""
        return self._chunk([], START)

    def _chunk(self, rows: list[TextRow], end: Place) -> Chunk:
        return RowChunk(
            texts=[row.text for row in rows],
            end=end,
            share=end.row / max(1, len(self._texts)),
            names=self._names,
            rows=[row.columns for row in rows],
        )
