"""`sentq flower`: Flower, Celery's monitor, for the workers of sentq."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Final

import typer

from sentq.cli.common import Broker, Config, Exit, say
from sentq.settings import CONFIG_VARIABLE, Settings

__all__ = ["HELP", "flower"]

HELP: Final = """Show workers and jobs in a browser: run Flower, with its own options.

It listens on 127.0.0.1:5555, unless it asks for a login. The same as
`celery -A sentq.flower flower`; `celery flower --help` lists its options.

\b
Examples:
  sentq flower
  sentq flower --port=8080 --basic-auth=me:secret --address=0.0.0.0
"""


def flower(context: typer.Context, broker_url: Broker = None, config: Config = None) -> None:
    """See `HELP`."""
    if find_spec("flower") is None:
        say('Flower is not installed: pip install "sentq[flower]"')
        raise typer.Exit(Exit.UNAVAILABLE)
    Settings.load(config, broker_url=broker_url)  # An error is one line here.
    given = {"SENTQ_BROKER_URL": broker_url, CONFIG_VARIABLE: config and str(config)}
    variables = {name: value for name, value in given.items() if value}
    command = [sys.executable, "-m", "celery", "-A", "sentq.flower", "flower", *context.args]
    os.execve(command[0], command, os.environ | variables)  # noqa: S606 - Flower takes its place
