"""`sentq gateway keys`: make, list and revoke the keys of a gateway's clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from sentq.cli.common import Broker, Config, say
from sentq.errors import InvalidInput
from sentq.gateway.keys.records import KeyRecord, KeyScope, new_key
from sentq.settings import Settings

if TYPE_CHECKING:
    from sentq.gateway.keys.store import KeyStore

__all__ = ["app", "has_keys"]

T = TypeVar("T")

_HELP: Final = """Make, list and revoke the keys of a gateway's clients.

Keys are kept in Redis, as hashes: a key is shown once, when it is made. All gateways of a Redis
know a change at once. With configs/users.acl it needs the rights of the user `operator`.

\b
Examples:
  sentq gateway keys create shop --scope submit --scope read
  sentq gateway keys create batch-job --texts-per-minute 100000
  sentq gateway keys list
  sentq gateway keys revoke shop

\b
Exit codes:
  0  done
  2  a wrong option or setting, a name that is taken, or no such key
  3  Redis is not available, or refuses
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)

_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


async def has_keys(settings: Settings) -> bool:
    """Return whether there is a key, also if it was revoked.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused.
    """
    return not await _with_store(settings, lambda store: store.is_empty())


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for. No two keys have one name.")],
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(
            help="What it may do (default: submit and read): submit jobs and batches; read and "
            "cancel its own; admin: all of that, for the jobs of all keys. May be repeated."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Most requests in a minute (default: no limit).", min=1)
    ] = None,
    texts_per_minute: Annotated[
        int | None,
        typer.Option(
            help="Most texts in a minute; a text counts once for each 1,000 characters that it "
            "has begun (default: no limit).",
            min=1,
        ),
    ] = None,
    as_json: _AsJson = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Make a key, and print it. It is not shown again."""
    try:
        key, record = new_key(
            name,
            scope or [KeyScope.SUBMIT, KeyScope.READ],
            created_s=int(time.time()),
            requests_per_minute=requests_per_minute,
            texts_per_minute=texts_per_minute,
        )
    except ValidationError:
        raise InvalidInput("the name of a key has 1 to 100 characters") from None
    _run(config, broker_url, lambda store: store.add(record))
    if as_json:
        _print_json({"key": key, **_fields(record)})
        return
    typer.echo(key)
    say(f"the key {record.name!r} ({record.id}) is shown once: keep it now")
    if record.may(KeyScope.SUBMIT):
        say(f"receivers of its webhooks verify them by `sentq webhooks secret --owner {record.id}`")


@app.command("list")
def list_keys(as_json: _AsJson = False, broker_url: Broker = None, config: Config = None) -> None:
    """List all keys, also those that were revoked, without the keys themselves."""
    records = _run(config, broker_url, lambda store: store.all())
    if as_json:
        for record in records:
            _print_json(_fields(record))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "scopes", "requests/min", "texts/min", "created", "revoked"):
        table.add_column(title)
    for record in records:
        fields = _fields(record)
        scopes = ", ".join(sorted(record.scopes))
        rest = ("requests_per_minute", "texts_per_minute", "created_at", "revoked_at")
        cells = ["-" if fields[each] is None else str(fields[each]) for each in rest]
        table.add_row(record.id, _plain(record.name), scopes, *cells)
    Console(markup=False, highlight=False, soft_wrap=True).print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The id of a key, or its name.")],
    as_json: _AsJson = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Make a key invalid, from its next request on. Its jobs are not affected."""
    revoked = _run(config, broker_url, lambda store: store.revoke(key, at_s=int(time.time())))
    if as_json:
        _print_json(_fields(revoked))
    else:
        say(f"revoked the key {_plain(revoked.name)!r} ({revoked.id})")


def _run(
    config: Path | None, broker_url: str | None, call: Callable[[KeyStore], Awaitable[T]]
) -> T:
    return asyncio.run(_with_store(Settings.load(config, broker_url=broker_url), call))


async def _with_store(settings: Settings, call: Callable[[KeyStore], Awaitable[T]]) -> T:
    # Other commands do without the client for asyncio.
    from sentq.gateway.client import GatewayClient
    from sentq.gateway.keys.store import KeyStore

    async with GatewayClient(settings) as client:
        return await call(KeyStore(client))


def _fields(record: KeyRecord) -> dict[str, object]:
    """Return what may be shown of a key."""
    return {
        "id": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "requests_per_minute": record.requests_per_minute,
        "texts_per_minute": record.texts_per_minute,
        "created_at": _moment(record.created_s),
        "revoked_at": _moment(record.revoked_s),
    }


def _moment(unix_s: int | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def _plain(name: str) -> str:
    """Return a name for a terminal, without control characters."""
    return "".join(each if each.isprintable() else "?" for each in name)


def _print_json(fields: dict[str, object]) -> None:
    typer.echo(orjson.dumps(fields).decode())
