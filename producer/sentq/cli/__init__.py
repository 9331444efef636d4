"""The command `sentq`.

Results go to standard output: a table on a terminal, JSON lines in a pipe. Everything else
(progress, messages, errors) goes to standard error.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sentq.cli import admin, dead, doctor, local, score, status
from sentq.cli.common import exit_code, notes
from sentq.cli.gateway import serve
from sentq.cli.models import app as models_app
from sentq.cli.monitoring import exporter, flower
from sentq.cli.webhooks import app as webhooks_app
from sentq.errors import SentqError
from sentq.version import describe_version

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Score the sentiment of texts with sentq workers.",
)
app.command(help=score.HELP)(score.score)
app.command(help=status.HELP)(status.status)
app.command(help=doctor.HELP)(doctor.doctor)
app.command(help=exporter.HELP)(exporter.exporter)
app.add_typer(serve.app, name="gateway")
app.add_typer(dead.app, name="dead")
app.add_typer(models_app, name="models")
app.add_typer(admin.app, name="admin")
app.add_typer(webhooks_app, name="webhooks")
app.command(
    help=flower.HELP,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(flower.flower)
app.command(help=local.DEV_HELP)(local.dev)
app.command(help=local.DEMO_HELP)(local.demo)


def main() -> None:
    """Run the command. An expected error prints one line and sets the exit code."""
    try:
        app()
    except SentqError as error:
        notes.print(f"sentq: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(exit_code(error))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sentq {describe_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score the sentiment of texts with sentq workers."""
