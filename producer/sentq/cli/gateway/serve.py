"""`sentq gateway`: sentq over HTTP."""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec
from typing import Annotated, Final

import typer

from sentq.cli.common import Broker, Config, say
from sentq.cli.gateway import keys
from sentq.errors import SettingsError
from sentq.gateway.settings import GatewaySettings
from sentq.logs import log_service_as_json
from sentq.settings import Settings
from sentq.webhooks.settings import WebhookSettings

__all__ = ["app"]

logger = logging.getLogger(__name__)

_HELP: Final = """Serve sentq over HTTP, until SIGTERM or Ctrl-C.

\b
Pages:
  POST /v1/score       texts in, outcomes out; waits some seconds
  POST /v1/jobs        accept a job, answer at once
  GET  /v1/jobs/{id}   its status, and its outcomes; /events follows it
  POST /v1/batches     upload texts of any number: JSON lines, CSV
  GET  /v1/batches/{id}  progress; /results streams the outcomes
  GET  /v1/status      the backlog and the workers
  GET  /openapi.json   all pages
  GET  /livez, /readyz  probes
  GET  /console        the console, for people

It needs no torch. Any number of gateways may serve one Redis. Without a key it listens on a
loopback address only, and is open to this machine. It has no TLS: outside a private network, put a
proxy before it. Settings are in the table [gateway], or SENTQ_GATEWAY_*. With a secret in
[webhooks], jobs and batches may have a callback_url, and the gateway delivers webhooks.

\b
Examples:
  sentq gateway
  sentq gateway keys create shop --scope submit --scope read
  sentq gateway --host 0.0.0.0 --port 8200
  curl -s http://127.0.0.1:8200/v1/score -H 'Content-Type: application/json' \\
    -d '{"texts": "What a lovely day!"}'

\b
Exit codes:
  0  ended by SIGTERM or Ctrl-C
  2  a wrong option or setting, the port is in use, or a package is missing
  3  Redis is not available
"""

#: What a gateway needs beyond a client.
_PACKAGES: Final = ("fastapi", "jinja2", "uvicorn")

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help=_HELP)
app.add_typer(keys.app, name="keys")


@app.callback()
def gateway(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen on (default: 127.0.0.1).", metavar="ADDRESS"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="The port; 0 chooses a free one (default: 8200).",
            min=0,
            max=65_535,
            metavar="PORT",
        ),
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `_HELP`."""
    if context.invoked_subcommand is not None:
        return
    settings = Settings.load(config, broker_url=broker_url)
    own = GatewaySettings.load(config, host=host, port=port)
    webhooks = WebhookSettings.load(config)
    if any(find_spec(package) is None for package in _PACKAGES):
        raise SettingsError('the gateway lacks a package: pip install "sentq[gateway]"')
    has_keys = asyncio.run(keys.has_keys(settings))
    if not (has_keys or own.is_on_loopback):
        raise SettingsError(
            f"there is no key, so the gateway listens on loopback only, not on {own.host}: make "
            "one with `sentq gateway keys create`"
        )
    # Other commands do without a server.
    from sentq.gateway.server import GatewayServer

    if settings.log_format == "json":
        log_service_as_json()
    else:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
    server = GatewayServer(settings, own, webhooks)
    tell = logger.info if settings.log_format == "json" else say
    tell(f"gateway: {server.url}")
    tell(f"console: {server.url}/console")
    if not has_keys:
        tell("there is no key: every program of this machine may use the gateway")
    server.serve()
