"""Write dead letters as a table, as sheets or as JSON lines; with texts only on request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from sentq.errors import Undecryptable
from sentq.rendering import printable
from sentq.wire.dead_letters import DeadLetter

__all__ = ["TextsOf", "counts_line", "write_json", "write_sheets", "write_table"]

#: Returns the texts of a dead letter; None if its message is not readable. Raises `Undecryptable`.
TextsOf = Callable[[DeadLetter], list[str] | None]


def counts_line(counts: Counter[str]) -> str:
    """Return a line with the number of dead letters of each code."""
    total = counts.total()
    each = ", ".join(f"{count:,} {printable(code)}" for code, count in counts.most_common())
    return f"{total:,} dead letter{'' if total == 1 else 's'}" + (f": {each}" if each else "")


def write_json(dead_letters: Iterable[DeadLetter], *, texts_of: TextsOf | None) -> None:
    """Write a JSON object for each dead letter."""
    for dead_letter in dead_letters:
        # Not orjson: a text may be invalid Unicode.
        typer.echo(json.dumps(_row(dead_letter, texts_of=texts_of)))


def write_sheets(dead_letters: Iterable[DeadLetter], *, texts_of: TextsOf | None) -> None:
    """Write all fields of each dead letter, one on each line."""
    for dead_letter in dead_letters:
        for name, value in _row(dead_letter, texts_of=texts_of).items():
            typer.echo(f"{name + ':':<15}{_plain(value)}")
        typer.echo()


def write_table(dead_letters: Iterable[DeadLetter], *, texts_of: TextsOf | None) -> None:
    """Write a row for each dead letter, with the most important fields."""
    columns = ["id", "at", "code", "deliveries", "job_id", "reason"]
    table = Table(box=None, pad_edge=False)
    for name in (*columns, "texts") if texts_of else columns:
        table.add_column(name, no_wrap=name in {"id", "code"}, overflow="fold")
    for dead_letter in dead_letters:
        row = _row(dead_letter, texts_of=texts_of)
        shown = [*columns, "texts" if "texts" in row else "message"] if texts_of else columns
        table.add_row(*(_plain(row[name]) for name in shown))
    Console(highlight=False, markup=False).print(table)


def _row(dead_letter: DeadLetter, *, texts_of: TextsOf | None) -> dict[str, Any]:
    row = dead_letter.model_dump(exclude={"message"})
    row["at"] = datetime.fromtimestamp(dead_letter.at_s, UTC).isoformat(timespec="seconds")
    row["message_bytes"] = len(dead_letter.message)
    if texts_of is not None:
        try:
            texts = texts_of(dead_letter)
        except Undecryptable as error:
            texts = [f"<encrypted: {error}>"]
        if texts is None:
            row["message"] = dead_letter.message.decode("utf-8", "replace")
        else:
            row["texts"] = texts
    return row


def _plain(value: object) -> str:
    return "" if value is None else printable(str(value))
