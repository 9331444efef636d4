"""Write webhooks as a table or as JSON lines; the path of a URL, which may be a secret, only on
request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from sentq.errors import WebhookRefused
from sentq.rendering import printable
from sentq.webhooks.network.targets import parse_target
from sentq.webhooks.store import WebhookPlace, WebhookRow
from sentq.wire.scheduled import moment

__all__ = ["shown_url", "write_json", "write_table"]

#: The width of the table, if the terminal is narrower: a webhook is one line, which the terminal
#: may wrap.
_MIN_WIDTH: Final = 200

_COLUMNS: Final = ("id", "place", "at", "url", "subject_id", "attempts", "last_error")


def write_json(rows: Iterable[WebhookRow], *, show_url: bool) -> None:
    """Write a JSON object for each webhook."""
    for row in rows:
        typer.echo(orjson.dumps(_fields(row, show_url=show_url)).decode())


def write_table(rows: Iterable[WebhookRow], *, show_url: bool) -> None:
    """Write a row for each webhook, with the most important fields."""
    table = Table(box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name in {"id", "place"}, overflow="fold")
    for row in rows:
        fields = _fields(row, show_url=show_url)
        shown = (fields[name] for name in _COLUMNS)
        table.add_row(*("" if each is None else printable(str(each)) for each in shown))
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, _MIN_WIDTH)
    console.print(table)


def shown_url(url: str | None, *, show_url: bool) -> str | None:
    """Return a URL, or its origin alone; None for a webhook that has no URL yet."""
    if url is None or show_url:
        return url
    try:
        return parse_target(url).origin
    except WebhookRefused:
        return "(not a valid URL; --show-url shows it)"


def _fields(row: WebhookRow, *, show_url: bool) -> dict[str, Any]:
    """Return the fields of a webhook; those that are not known before its first attempt are
    None."""
    known = row.fields
    lease_ms = known.get("lease_ms")
    in_flight = row.place is WebhookPlace.WAITING and lease_ms == str(row.due_ms)
    return {
        "id": row.id,
        "place": "in_flight" if in_flight else row.place,
        "at": _date(row.due_ms),
        "url": shown_url(known.get("url"), show_url=show_url),
        "owner": known.get("owner"),
        "kind": known.get("kind"),
        "subject_id": known.get("subject_id"),
        "attempts": int(known.get("attempts", 0)),
        "first_at": _date(known.get("first_ms")),
        "last_at": _date(known.get("last_ms")),
        "last_status": int(known["last_status"]) if known.get("last_status") else None,
        "last_error": known.get("last_error"),
    }


def _date(unix_ms: int | str | None) -> str | None:
    if unix_ms is None:
        return None
    return moment(int(unix_ms)).isoformat(timespec="seconds")
