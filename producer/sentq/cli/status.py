"""`sentq status`: queued jobs, jobs in flight, and workers."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from sentq.admin.status import ServiceStatus
from sentq.cli.common import Broker, Config, Exit, open_client, say
from sentq.rendering import printable
from sentq.results.batch import BatchProgress
from sentq.wire.agreement import Disagreement, differing_topics, short_revision
from sentq.wire.reports import WorkerReport

__all__ = ["HELP", "status"]

HELP: Final = """Show queued jobs, jobs in flight, and workers; or the progress of a batch.

\b
Examples:
  sentq status
  sentq status --json | jq .queues
  sentq status --batch 0192f0c1-7d3c-7aaa-8bbb-0123456789ab

\b
Exit codes:
  0  at least one worker reports, or the batch is known
  1  Redis knows no such batch
  2  a wrong option or setting
  3  Redis is not available, or no worker reports
"""

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400

_COLUMNS: Final = (
    "worker",
    "engine",
    "version",
    "jobs/s",
    "in flight",
    "finished",
    "up",
    "seen",
    "state",
)

#: The width of the table of workers, if the terminal is narrower: a worker is one line, which the
#: terminal may wrap.
_MIN_WIDTH: Final = 240

#: How many workers a warning names.
_NAMED_WORKERS: Final = 3


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="ID", help="The progress of this batch.")
    ] = None,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    with open_client(config, broker_url) as client:
        if batch is not None:
            _show_batch(client.batch_by_id(batch).progress(), as_json=as_json)
            return
        seen = client.service_status()
    if as_json:
        typer.echo(seen.model_dump_json())
    else:
        _show(seen)
    for line in _advice(seen):
        say(line)
    if not seen.workers:
        raise typer.Exit(Exit.UNAVAILABLE)


def _show_batch(found: BatchProgress, *, as_json: bool) -> None:
    if as_json:
        typer.echo(found.model_dump_json())
        return
    state = "complete" if found.is_complete else "closed" if found.is_closed else "open"
    counts = {
        "jobs": found.total,
        "done": found.done,
        "failed": found.failed,
        "cancelled": found.cancelled,
        "remaining": found.remaining,
    }
    lines = [f"{name:<10}{count:>12,}" for name, count in counts.items()]
    lines.append(f"{'state':<10}{state:>12}")
    if found.callback is not None:
        lines.append(f"{'callback':<10}{found.callback:>12}")
    typer.echo("\n".join(lines))


def _show(seen: ServiceStatus) -> None:
    console = Console(file=sys.stdout, highlight=False, markup=False)
    queues = Table("queue", "waiting", "oldest", box=None, pad_edge=False)
    for queue in seen.queues:
        oldest = "" if queue.oldest_s is None else _ago(queue.oldest_s)
        queues.add_row(printable(queue.name), f"{queue.waiting_jobs:,}", oldest)
    console.print(queues)
    console.print(f"\nin flight     {seen.in_flight_jobs:,}")
    console.print(f"scheduled     {seen.scheduled_jobs:,}")
    console.print(f"dead letters  {seen.dead_letters:,}\n")
    if seen.workers:
        further = ("differs in",) if seen.disagreements else ()
        workers = Table(*_COLUMNS, *further, box=None, pad_edge=False)
        for report in seen.workers:
            workers.add_row(*_cells(report, seen))
        console.width = max(console.width, _MIN_WIDTH)
        console.print(workers)


def _cells(report: WorkerReport, seen: ServiceStatus) -> list[str]:
    model = report.model
    if model and report.revision:
        model = f"{model}@{short_revision(report.revision)}"
    engine = " ".join(part for part in (model, report.backend, report.dtype) if part)
    state = report.waiting_for or ("busy" if report.in_flight_jobs else "idle")
    if report.breaker and report.breaker != "closed":
        state += f"; the Hub's breaker is {report.breaker}"
    if report.local_breaker and report.local_breaker != "closed":
        state += f"; the local engine's is {report.local_breaker}"
    cells = [
        printable(report.worker),
        printable(engine),
        printable(report.version or "unknown"),
        f"{report.jobs_per_s:,.1f}",
        f"{report.in_flight_jobs:,}",
        f"{report.jobs_finished:,}",
        _ago(seen.at_s - report.started_at_s),
        f"{_ago(seen.at_s - report.at_s)} ago",
        printable(state),
    ]
    if seen.disagreements:
        cells.append(", ".join(differing_topics(report.worker, seen.disagreements)))
    return cells


def _advice(seen: ServiceStatus) -> list[str]:
    lines = []
    if not seen.workers:
        lines.append(
            "no worker reports: start one with sentq-worker, and check that it has this broker URL"
        )
    elif all(report.waiting_for for report in seen.workers):
        lines.append("no worker can score at the moment; jobs wait until one can")
    lines += [_warning(found) for found in seen.disagreements]
    if seen.dead_letters:
        lines.append("sentq dead list shows the dead letters, and the reason of each")
    return lines


def _warning(found: Disagreement) -> str:
    values = "; ".join(
        f"{printable(value)} ({_names(workers)})" for value, workers in found.values.items()
    )
    queues = ", ".join(map(printable, found.queues))
    return (
        f"warning: workers of {queues} differ in their {found.topic}: {values}. The outcome of a "
        "job depends on the worker that takes it"
    )


def _names(workers: tuple[str, ...]) -> str:
    more = len(workers) - _NAMED_WORKERS
    names = ", ".join(map(printable, workers[:_NAMED_WORKERS]))
    return f"{names} and {more} more" if more > 0 else names


def _ago(seconds: float) -> str:
    """Return a duration in its largest unit."""
    if seconds < _MINUTE_S:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _DAY_S:.1f} d"
