"""`sentq status`: the backlog, and workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sentq.admin.hub_budget import HubBudget
from sentq.admin.status import LONGEST_DRAIN_S, ServiceStatus
from sentq.cli.common import Broker, Config, Exit, duration_s, open_client, say
from sentq.client import Client
from sentq.errors import BrokerUnavailable
from sentq.rendering import printable
from sentq.results.batch import BatchProgress
from sentq.wire.agreement import Disagreement, differing_topics, with_revision
from sentq.wire.reports import WorkerReport

__all__ = ["HELP", "status"]

HELP: Final = """Show the backlog and the workers; or the progress of a batch.

The backlog is all jobs without an outcome: those that wait in the queues, of all priorities, those
that workers have taken, and those with an eta. Of these, jobs whose eta is more than a minute away
are not ready. The time to drain is that of the ready jobs, at the pace of the live workers.

\b
Examples:
  sentq status
  sentq status --watch
  sentq status --json | jq .drain_s
  sentq status --older-than 5m > /dev/null || page-the-operator
  sentq status --batch 0192f0c1-7d3c-7aaa-8bbb-0123456789ab

\b
Exit codes:
  0  at least one worker reports, or the batch is known
  1  Redis knows no such batch
  2  a wrong option or setting
  3  Redis is not available, or no worker reports
  4  the oldest job was sent longer ago than --older-than
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
    older_than: Annotated[
        float | None,
        typer.Option(
            help="Exit with 4 if the oldest job was sent longer ago: 90s, 5m, 2h.",
            parser=duration_s,
            metavar="AGE",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", "-w", help="Refresh in place until Ctrl-C; with --json, a line each."
        ),
    ] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", help="With --watch: seconds between two.", min=0.2)
    ] = 2.0,
    broker_url: Broker = None,
    config: Config = None,
) -> None:
    """See `HELP`."""
    with open_client(config, broker_url) as client:
        if batch is not None:
            _show_batch(client.batch_by_id(batch).progress(), as_json=as_json)
            return
        if watch:
            _watch(client, interval_s, as_json=as_json)
            return
        seen = client.service_status()
    if as_json:
        typer.echo(seen.model_dump_json())
    else:
        _console(seen).print(_rendered(seen))
    for line in _advice(seen):
        say(line)
    if not seen.workers:
        raise typer.Exit(Exit.UNAVAILABLE)
    if older_than is not None and (seen.oldest_s or 0.0) > older_than:
        say(f"the oldest job was sent {_ago(seen.oldest_s or 0.0)} ago")
        raise typer.Exit(Exit.TIMEOUT)


def _watch(client: Client, interval_s: float, *, as_json: bool) -> None:
    """Show the status again and again, until Ctrl-C."""
    try:
        if as_json:
            for seen in _seen_again_and_again(client, interval_s):
                if not isinstance(seen, BrokerUnavailable):
                    typer.echo(seen.model_dump_json())
                else:
                    say(str(seen))
            return
        console = _console(None)
        with Live(console=console, auto_refresh=False) as live:
            for seen in _seen_again_and_again(client, interval_s):
                if console.is_terminal:
                    live.update(_watched(seen), refresh=True)
                else:
                    console.print(_watched(seen))
    except KeyboardInterrupt:
        return


def _seen_again_and_again(
    client: Client, interval_s: float
) -> Iterator[ServiceStatus | BrokerUnavailable]:
    while True:
        try:
            yield client.service_status()
        except BrokerUnavailable as error:
            yield error
        time.sleep(interval_s)


def _watched(seen: ServiceStatus | BrokerUnavailable) -> RenderableType:
    now = time.strftime("%H:%M:%S")
    if isinstance(seen, BrokerUnavailable):
        return Text(f"{now}  {seen}")
    return Group(Text(f"{now}\n"), _rendered(seen), *(Text(line) for line in _advice(seen)))


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


def _console(seen: ServiceStatus | None) -> Console:
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if seen is not None and seen.workers:
        console.width = max(console.width, _MIN_WIDTH)
    return console


def _rendered(seen: ServiceStatus) -> RenderableType:
    queues = Table("queue", "waiting", "oldest", box=None, pad_edge=False)
    for queue in seen.queues:
        oldest = "" if queue.oldest_s is None else _ago(queue.oldest_s)
        queues.add_row(printable(queue.name), f"{queue.waiting_jobs:,}", oldest)
    lines = [
        f"\nin flight     {seen.in_flight_jobs:,}",
        f"scheduled     {seen.scheduled_jobs:,}",
        f"backlog       {seen.backlog_jobs:,} jobs, about {seen.backlog_texts:,} texts",
        f"oldest        {'' if seen.oldest_s is None else _ago(seen.oldest_s)}",
        f"drained in    {_drain(seen)}",
        f"dead letters  {seen.dead_letters:,}",
        *(f"Hub's budget  {_budget(each)}" for each in seen.hub_budget),
    ]
    lines[-1] += "\n"
    parts: list[RenderableType] = [queues, *(Text(line.rstrip(" ")) for line in lines)]
    if seen.workers:
        further = ("differs in",) if seen.disagreements else ()
        workers = Table(*_COLUMNS, *further, box=None, pad_edge=False)
        for report in seen.workers:
            workers.add_row(*_cells(report, seen))
        parts.append(workers)
        parts += [Text(_models(report)) for report in seen.workers if report.models]
    return Group(*parts)


def _models(report: WorkerReport) -> str:
    """Return the models of a worker that has several, and how many texts each has scored."""
    each = []
    for model in report.models:
        loaded = with_revision(model.model, model.revision)
        each.append(f"{model.name} = {loaded} ({model.texts_finished:,} texts)")
    return "\n" + printable(f"models of {report.worker}: {', '.join(each)}")


def _drain(seen: ServiceStatus) -> str:
    if seen.drain_s is None:
        return "" if not seen.ready_jobs else "unknown: no worker has a pace"
    if seen.drain_s > LONGEST_DRAIN_S:
        return f"unknown: more than {_ago(LONGEST_DRAIN_S)} at {seen.pace_jobs_per_s:,.3g} jobs/s"
    return f"{_ago(seen.drain_s)}, at {seen.pace_jobs_per_s:,.1f} jobs/s"


def _budget(budget: HubBudget) -> str:
    end = datetime.fromtimestamp(budget.ends_at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    used = f"{budget.used:,} of {budget.limit:,} {budget.unit} a {budget.period}"
    state = "used up" if budget.is_used_up else f"{budget.remaining:,} left"
    return f"{used}, {state} until {end}"


def _cells(report: WorkerReport, seen: ServiceStatus) -> list[str]:
    model = with_revision(report.model, report.revision)
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
