"""A file of outcomes as JSON lines, which a later run continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from sentq.contract import Outcome, TextError
from sentq.contrib.django.scoring import Row
from sentq.errors import InvalidInput

__all__ = ["OutcomeLines", "open_outcome_file"]

#: A line is shorter: it has scores, and no text.
_LONGEST_LINE_BYTES: Final = 64 * 1024


class OutcomeLines:
    """Writes a JSON object for each row: `pk`, and the fields of the outcome or `error`.

    Args:
        write: Writes a line, which ends with a line break.
        last_pk: The primary key in the last line that is there already, as JSON; None if there is
            none.
    """

    def __init__(self, write: Callable[[bytes], object], last_pk: object = None) -> None:
        self._write = write
        self.last_pk = last_pk

    def save(self, outcomes: Sequence[tuple[Row, Outcome]]) -> None:
        """Write the lines of these outcomes."""
        for row, outcome in outcomes:
            fields = outcome.model_dump(mode="json")
            line = {"pk": row.pk} | (
                {"error": fields} if isinstance(outcome, TextError) else fields
            )
            self._write(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def open_outcome_file(path: Path, *, resume: bool) -> Iterator[OutcomeLines]:
    """Open a file of outcomes for the block.

    Args:
        path: The file; it need not exist.
        resume: Write after the last line of the file. One that was not written to its end is
            removed.

    Raises:
        InvalidInput: The file cannot be opened; or it has content, and `resume` is not set; or it
            is not a file of this command.
    """
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from error
    with stream:
        size_bytes = stream.seek(0, os.SEEK_END)
        if size_bytes and not resume:
            raise InvalidInput(f"{path} exists already: --resume continues it")
        last_pk = _cut_to_last_line(stream, size_bytes, path)
        yield OutcomeLines(stream.write, last_pk)


def _cut_to_last_line(stream: BinaryIO, size_bytes: int, path: Path) -> object:
    """Remove an incomplete line at the end; return the primary key of the last complete one."""
    start = max(0, size_bytes - 2 * _LONGEST_LINE_BYTES)
    stream.seek(start)
    complete, _, incomplete = stream.read().rpartition(b"\n")
    stream.truncate(size_bytes - len(incomplete))
    if not complete and start == 0:
        return None
    try:
        return orjson.loads(complete.rpartition(b"\n")[2])["pk"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise InvalidInput(
            f"{path} is not a file of this command: its last line has no pk"
        ) from None
