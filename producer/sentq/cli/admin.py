"""`sentq admin`: what an administrator of Redis does once."""

from __future__ import annotations

from typing import Final

import typer

from sentq.cli.common import Broker, Config, say
from sentq.client import Client
from sentq.settings import Settings
from sentq.wire.functions import LIBRARY_NAME

__all__ = ["app"]

_HELP: Final = """Prepare Redis, with the rights of its administrator.

\b
Examples:
  export SENTQ_BROKER_URL=redis://administrator@redis:6379/0
  export SENTQ_REDIS_PASSWORD_FILE=/run/secrets/administrator-password
  sentq admin load-functions

\b
Exit codes:
  0  done
  2  a wrong option or setting
  3  Redis is not available, refuses, or is older than 7
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def _group() -> None:
    """Keep `load-functions` a subcommand: typer would make a single command the group itself."""


@app.command("load-functions")
def load_functions(broker_url: Broker = None, config: Config = None) -> None:
    """Load the functions that clients of this version call. Other versions stay.

    Workers do so as they start, if their user may.
    """
    with Client(Settings.load(config, broker_url=broker_url)) as client:
        client.load_functions()
    say(f"loaded the functions {LIBRARY_NAME}")
