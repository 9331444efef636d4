"""Dead letters as a person or a program reads them. Texts only where somebody asked for them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from sentq.admin.dead import texts_of
from sentq.rendering import printable
from sentq.wire.dead_letters import DeadLetter

__all__ = ["counted", "wants_json", "write_json", "write_sheets", "write_table"]


def counted(counts: Counter[str]) -> str:
    """How many there are, and of which codes."""
    total = counts.total()
    each = ", ".join(f"{count:,} {printable(code)}" for code, count in counts.most_common())
    return f"{total:,} dead letter{'' if total == 1 else 's'}" + (f": {each}" if each else "")


def wants_json(as_json: bool | None) -> bool:
    """Whether to write JSON: as said, or in a pipe."""
    return not sys.stdout.isatty() if as_json is None else as_json


def write_json(letters: Iterable[DeadLetter], *, show_text: bool) -> None:
    """A JSON object a line."""
    for letter in letters:
        # Not orjson: a bad text may hold what is no Unicode.
        typer.echo(json.dumps(_row(letter, show_text=show_text)))


def write_sheets(letters: Iterable[DeadLetter], *, show_text: bool) -> None:
    """All that is known of each, a line for each thing."""
    for letter in letters:
        for name, value in _row(letter, show_text=show_text).items():
            typer.echo(f"{name + ':':<15}{_plain(value)}")
        typer.echo()


def write_table(letters: Iterable[DeadLetter], *, show_text: bool) -> None:
    """A row for each, with what tells them apart."""
    columns = ["id", "at", "code", "deliveries", "job_id", "reason"]
    table = Table(box=None, pad_edge=False)
    for name in (*columns, "texts") if show_text else columns:
        table.add_column(name, no_wrap=name in {"id", "code"}, overflow="fold")
    for letter in letters:
        row = _row(letter, show_text=show_text)
        shown = [*columns, "texts" if "texts" in row else "message"] if show_text else columns
        table.add_row(*(_plain(row[name]) for name in shown))
    Console(highlight=False, markup=False).print(table)


def _row(letter: DeadLetter, *, show_text: bool) -> dict[str, Any]:
    row = letter.model_dump(exclude={"message"})
    row["at"] = datetime.fromtimestamp(letter.at_s, UTC).isoformat(timespec="seconds")
    row["message_bytes"] = len(letter.message)
    if show_text:
        texts = texts_of(letter)
        if texts is None:
            row["message"] = letter.message.decode("utf-8", "replace")
        else:
            row["texts"] = texts
    return row


def _plain(value: object) -> str:
    return "" if value is None else printable(str(value))
