"""Single rows of files of text, cut into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from sentq.files.reading.chunks import Chunk, Place
from sentq.files.reading.opening import DAMAGED, damage_of
from sentq.files.reading.sources.base import BYTES_PER_CHUNK
from sentq.files.reading.texts import unreadable

__all__ = ["TextRow", "cut", "until_damage"]


class TextRow(NamedTuple):
    """A row of a file of text.

    Attributes:
        text: The text, as it was read; a `TextError` for a row without one.
        columns: Its other columns, as the chunk of its format has them.
        chars: The size of the row.
    """

    text: object
    columns: Any
    chars: int


def cut(
    rows: Iterable[TextRow],
    start: Place,
    make: Callable[[list[TextRow], Place], Chunk],
    *,
    most: int,
) -> Iterator[Chunk]:
    """Yield rows in chunks.

    Args:
        rows: All rows of a file.
        start: The rows before this place are left out.
        make: Makes a chunk of rows and the place after them.
        most: Most rows of a chunk.
    """
    found: list[TextRow] = []
    chars = number = 0
    for number, row in enumerate(rows, start=1):
        if number <= start.row:
            continue
        found.append(row)
        chars += row.chars
        if len(found) >= most or chars >= BYTES_PER_CHUNK:
            yield make(found, Place(start.file, number))
            found, chars = [], 0
    if found:
        yield make(found, Place(start.file, number))


def until_damage(rows: Iterator[TextRow]) -> Iterator[TextRow]:
    """Yield rows; where the file is damaged, one row that says so is the last one."""
    number = 0
    try:
        for row in rows:
            number += 1
            yield row
    except DAMAGED as error:
        problem = f"{damage_of(error)}: what follows cannot be read"
        yield TextRow(unreadable(f"after row {number}", problem), None, 0)
