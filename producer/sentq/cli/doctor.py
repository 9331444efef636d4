"""`sentq doctor`: what is wrong with a set-up, and what to do."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.console import Console

from sentq.admin.doctor import Examination, examine
from sentq.admin.findings import DoctorFinding, Level
from sentq.cli.common import Broker, Config, Exit
from sentq.rendering import printable

__all__ = ["HELP", "doctor"]

HELP: Final = """Check Redis, the rights of its user, workers and settings, and say what to do.

Put its output into bug reports: it has no secret and no text.

\b
Examples:
  sentq doctor
  sentq doctor --json | jq '.findings[] | select(.level == "problem")'

\b
Exit codes:
  0  no problem; there may be warnings
  1  a problem
  2  a wrong option
"""

_STYLES: Final = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.PROBLEM: "red",
    Level.UNKNOWN: "dim",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    found = examine(config, broker_url=broker_url)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _show(found)
    if found.has_problems:
        raise typer.Exit(Exit.SOME_FAILED)


def _show(found: Examination) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    commit = f" (commit {found.commit})" if found.commit else ""
    console.print(f"sentq {found.version}{commit}; {packages}\n")
    for setting in found.settings:
        console.print(printable(f"{setting.name} = {setting.value}  ({setting.origin})"))
    console.print(f"{'other' if found.settings else 'all'} settings have their defaults\n")
    for finding in found.findings:
        _show_finding(console, finding)


def _show_finding(console: Console, finding: DoctorFinding) -> None:
    console.print(f"{finding.level:<8}", style=_STYLES[finding.level], end="")
    console.print(printable(f" {finding.check}: {finding.message}"))
    if finding.advice:
        console.print(printable(f"         -> {finding.advice}"))
