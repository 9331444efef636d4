"""`sentq webhooks`: deliver, list and retry webhooks; secrets of receivers."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from sentq.cli.common import (
    AsJson,
    Broker,
    Config,
    DryRun,
    Exit,
    Yes,
    confirm,
    say,
    wants_json,
)
from sentq.cli.webhooks.rendering import shown_url, write_json, write_table
from sentq.errors import InvalidInput
from sentq.logs import log_service_as_json
from sentq.serving import Page, PageServer
from sentq.settings import Settings
from sentq.webhooks.admin import WebhookAdmin
from sentq.webhooks.running import make_deliverer
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer, new_secret
from sentq.webhooks.store import RetryReply, WebhookPlace

__all__ = ["app"]

logger = logging.getLogger(__name__)

_HELP: Final = """Deliver, list and retry webhooks: requests that tell a receiver how a job or a
batch ended.

\b
Examples:
  sentq webhooks new-secret
  sentq webhooks secret --owner KEY_ID
  sentq webhooks deliver
  sentq webhooks list
  sentq webhooks list --dead --json | jq -r .last_error | sort | uniq -c
  sentq webhooks retry msg_3f0c1d2e4b5a69788796a5b4c3d2e1f0
  sentq webhooks retry --all --dry-run
  sentq webhooks disabled
  sentq webhooks enable https://example.com/hook

\b
Exit codes:
  0  done
  1  a given webhook or URL does not exist, is being sent, or the command was not confirmed
  2  a wrong option or setting, a package is missing, or no terminal to confirm on
  3  Redis is not available
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)

ShowUrl = Annotated[
    bool, typer.Option("--show-url", help="Show whole URLs. Their paths may be secrets.")
]


#: A process that has not looked for webhooks for so long delivers none, in seconds.
_STUCK_S: Final = 60.0


@app.command()
def deliver(
    probe_port: Annotated[
        int | None,
        typer.Option(
            help="Serve /livez on this port of 127.0.0.1, for health checks; 0 chooses a free one.",
            min=0,
            max=65_535,
            metavar="PORT",
            show_default=False,
        ),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Deliver webhooks until SIGTERM or Ctrl-C. Several processes may do so, and a gateway does."""
    settings = Settings.load(config, broker_url=broker_url)
    if settings.log_format == "json":
        log_service_as_json()
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tell = logger.info if settings.log_format == "json" else say
    deliverer = make_deliverer(settings, WebhookSettings.load(config))

    def live() -> Page:
        if deliverer.idle_s > _STUCK_S:
            return Page(b"stuck\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Page(b"live\n")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, deliverer.stop)
        tell("webhooks are delivered")
        await deliverer.run()

    if probe_port is None:
        asyncio.run(main())
        return
    probe = PageServer("127.0.0.1", probe_port, {"/livez": live})
    probe.start()
    try:
        tell(f"probe: {probe.url}/livez")
        asyncio.run(main())
    finally:
        probe.stop()


@app.command("list")
def list_webhooks(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait.")] = False,
    dead: Annotated[
        bool, typer.Option("--dead", help="Only those after their last attempt.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Show at most so many of each.", min=0)] = 100,
    as_json: AsJson = None,
    show_url: ShowUrl = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Count webhooks, and list them: those that are due first, then the dead ones."""
    chosen = [WebhookPlace.WAITING] * (waiting or not dead) + [WebhookPlace.DEAD] * (
        dead or not waiting
    )
    with _admin(config, broker_url) as webhooks:
        counts = webhooks.counts()
        say(", ".join(f"{counts[place]:,} {place}" for place in WebhookPlace))
        rows = [row for place in chosen for row in islice(webhooks.rows(place), limit)]
    if wants_json(as_json):
        write_json(rows, show_url=show_url)
    elif rows:
        write_table(rows, show_url=show_url)
    if any(counts[place] > limit for place in chosen):
        say(f"the first {limit:,} are shown; --limit shows more")


@app.command()
def retry(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of webhooks, waiting or dead.", metavar="ID...", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead webhooks.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Send webhooks now. Dead ones are tried for another day, and URLs that answered 410 too."""
    if bool(ids) + everything != 1:
        raise InvalidInput("select the webhooks to retry: by ids, or with --all")
    with _admin(config, broker_url) as webhooks:
        if ids:
            chosen: Iterable[str] = dict.fromkeys(ids)
        else:
            # All are read before the first one moves.
            rows = list(webhooks.rows(WebhookPlace.DEAD))
            say(f"{len(rows):,} dead")
            if rows and not dry_run and not yes:
                confirm("retry", len(rows))
            chosen = [row.id for row in rows]
        if dry_run:
            return
        replies = Counter(webhooks.retry(each) for each in chosen)
    say(f"{replies[RetryReply.RETRIED]:,} are due now")
    if count := replies[RetryReply.IN_FLIGHT]:
        say(f"{count:,} {'is' if count == 1 else 'are'} being sent at the moment")
    if count := replies[RetryReply.NOT_FOUND]:
        say(f"{count:,} {'does' if count == 1 else 'do'} not exist (any more)")
    if replies.total() != replies[RetryReply.RETRIED]:
        raise typer.Exit(Exit.SOME_FAILED)


@app.command()
def disabled(
    as_json: AsJson = None,
    show_url: ShowUrl = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """List the URLs that get no more webhooks, because their receivers have answered 410."""
    with _admin(config, broker_url) as webhooks:
        found = webhooks.disabled()
    say(f"{len(found):,} disabled")
    for url, at_ms in found:
        shown = shown_url(url, show_url=show_url)
        if wants_json(as_json):
            typer.echo(orjson.dumps({"url": shown, "at_ms": at_ms}).decode())
        else:
            typer.echo(shown)


@app.command()
def enable(
    url: Annotated[str, typer.Argument(help="The URL.", show_default=False)],
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Send webhooks to a URL again."""
    with _admin(config, broker_url) as webhooks:
        if not webhooks.enable(url):
            say("it is not disabled")
            raise typer.Exit(Exit.SOME_FAILED)
    say("it gets webhooks again; `sentq webhooks retry` sends earlier ones")


@app.command()
def secret(
    owner: Annotated[
        str, typer.Option(help="Whose webhooks: the id of a key of the gateway (default: none).")
    ] = "",
    config: Config = None,
) -> None:
    """Print the secret by which a receiver verifies webhooks; with several secrets in the
    settings one on each line, the newest first."""
    for each in load_signer(WebhookSettings.load(config)).secrets_of(owner):
        typer.echo(each)


@app.command("new-secret")
def make_secret() -> None:
    """Print a new random secret for SENTQ_WEBHOOKS_SECRETS."""
    typer.echo(new_secret())


def _admin(config: Path | None, broker_url: str | None) -> WebhookAdmin:
    return WebhookAdmin(Settings.load(config, broker_url=broker_url))
