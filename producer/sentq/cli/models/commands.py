"""`sentq models`: roll another model on running workers."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Final

import typer
from rich.console import Console

from sentq.admin.models import DEFAULT_SHARE, ModelsStatus
from sentq.cli.common import Broker, Config, Exit, open_client, say
from sentq.cli.models.rendering import described, workers_table
from sentq.rendering import printable
from sentq.wire.reports import WorkerReport
from sentq.wire.roll.report import RollStage

__all__ = ["app"]

_HELP: Final = """Roll another model on running workers: try it, promote it, roll it back.

A model is named as in the settings of the workers: a table [worker.models.NAME] with
load = "on_roll". Workers load it beside the one that serves, and go on scoring. With
configs/users.acl this needs the rights of the user `operator`.

\b
Examples:
  sentq models roll candidate --canary 5%
  sentq models roll candidate --canary 20% --shadow
  sentq models status
  sentq models promote
  sentq models rollback

\b
Exit codes:
  0  done; of status: all workers follow
  1  of status: a worker cannot load a model, or has none that can be rolled
  2  a wrong option or setting, no such model, or nothing to promote or to roll back
  3  Redis is not available or refuses, or no worker reports
  4  of status: a worker is still loading
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


def _share(text: str | float) -> float:
    if isinstance(text, float):  # The default.
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if found is None or not 0 < (share := float(found[1]) / 100) <= 1:
        raise typer.BadParameter(f"{text!r} is not a share such as 5%, above 0% and up to 100%")
    return share


@app.command()
def roll(
    model: Annotated[
        str, typer.Argument(help="Its name in the settings of the workers.", metavar="NAME")
    ],
    canary: Annotated[
        float,
        typer.Option(
            help="The share of jobs that it scores. The same jobs on each worker, by their ids.",
            parser=_share,
            show_default=f"{DEFAULT_SHARE:.0%}",
            metavar="SHARE",
        ),
    ] = DEFAULT_SHARE,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="The serving model answers these jobs; both are compared."),
    ] = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Have workers load a model, and score a share of jobs with it."""
    with open_client(config, broker_url) as client:
        found = client.models.roll(model, share=canary, shadow=shadow)
    _say_what_serves(found)
    lacking = [report.worker for report in found.workers if not _has(report, model)]
    if lacking:
        say(f"warning: these workers do not have it: {', '.join(map(printable, lacking))}")


@app.command()
def promote(broker_url: Broker = None, config: Config = None) -> None:
    """Let the candidate serve. Workers release the model that served."""
    with open_client(config, broker_url) as client:
        _say_what_serves(client.models.promote())


@app.command()
def rollback(broker_url: Broker = None, config: Config = None) -> None:
    """Take the candidate away; without one, go back to the model that served before."""
    with open_client(config, broker_url) as client:
        _say_what_serves(client.models.rollback())


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """Show which models serve, and how far the workers are."""
    with open_client(config, broker_url) as client:
        found = client.models.status()
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        typer.echo(f"{described(found.state)}\n")
        console = Console(file=sys.stdout, markup=False, highlight=False, soft_wrap=True)
        console.print(workers_table(found))
    for report in found.workers:
        if report.roll and report.roll.error:
            say(printable(f"{report.worker}: {report.roll.error}"))
    stages = set(found.stages().values())
    if not stages:
        say("no worker reports")
        raise typer.Exit(Exit.UNAVAILABLE)
    if stages & {RollStage.FAILED, None}:
        raise typer.Exit(Exit.SOME_FAILED)
    if RollStage.LOADING in stages:
        raise typer.Exit(Exit.TIMEOUT)


def _has(report: WorkerReport, model: str) -> bool:
    return report.roll is not None and model in report.roll.names


def _say_what_serves(found: ModelsStatus) -> None:
    say(f"{described(found.state)}; sentq models status shows which workers have loaded what")
