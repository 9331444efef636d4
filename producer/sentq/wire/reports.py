"""Worker reports: the state of each worker, for `sentq status` and for estimates of free capacity.

    sentq.worker:<name>   string       one report as JSON; expires soon after its worker ends
    sentq.workers         sorted set   name -> until when its report is kept, in Unix seconds

The set saves readers a search through all keys, of which there may be millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from sentq.wire.functions import FUNCTIONS
from sentq.wire.lua import load_script
from sentq.wire.roll.report import RollReport
from sentq.wire.steps import ScriptCall, Steps

if TYPE_CHECKING:
    import redis

__all__ = [
    "MIN_REPORT_LIFETIME_S",
    "REPORT_INDEX_KEY",
    "ReportedBudget",
    "ReportedModel",
    "WorkerReport",
    "read_reports",
    "remove_report",
    "report_key",
    "report_steps",
    "write_report",
]

#: The shortest time for which a report is kept. A worker may be slow to write the next one.
MIN_REPORT_LIFETIME_S: Final = 15

#: The key of the names of all workers that report.
REPORT_INDEX_KEY: Final = "sentq.workers"

_KEY_PREFIX: Final = "sentq.worker:"

_WRITE: Final = load_script("sentq.wire", "write_report")
_READ: Final = FUNCTIONS["read_reports"]


class ReportedBudget(BaseModel):
    """How much of one limit of the Hub's budget all workers had used when one of them last counted.

    Attributes:
        period: What the limit is for: a `day` or a `month`, in UTC.
        unit: What is limited: `calls` or `chars`.
        used: How many were used in the present period.
        limit: How many are permitted.
        is_used_up: Whether nothing is left, or too little for the call that was asked for last.
        at_s: When it was counted: Unix seconds by Redis' clock.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    period: str
    unit: str
    used: NonNegativeInt
    limit: NonNegativeInt
    is_used_up: bool
    at_s: float


class ReportedModel(BaseModel):
    """One of several models of a worker.

    Attributes:
        name: The name under which jobs ask for it; `main` is that of the worker's first one.
        model: The model, as outcomes name it.
        revision: The model's commit, or the SHA-256 of its files.
        dtype: The number format of the weights.
        texts_finished: Texts with an outcome of it since the worker started.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str
    model: str
    revision: str | None = None
    dtype: str | None = None
    texts_finished: NonNegativeInt = 0


class WorkerReport(BaseModel):
    """The state of a worker. A reader ignores fields that a newer worker added.

    Attributes:
        worker: The worker's name.
        at_s: When the report was written: Unix seconds by Redis' clock.
        started_at_s: When the worker started: Unix seconds by Redis' clock.
        queues: The queues that it reads.
        jobs_finished: Jobs that it has completed since it started.
        jobs_per_s: Its recent rate, not the average.
        busy_share: For which share of the recent time it had jobs in its engine, 0 to 1; 0 from an
            older worker.
        pace_jobs_per_s: The jobs that it completes a second while it has some; None before its
            first one, and from an older worker.
        texts_finished: Texts with an outcome since it started.
        in_flight_jobs: Jobs that it has taken and not completed.
        oldest_sent_at_s: When the oldest of these was sent: Unix seconds by its sender's clock.
        model: The model that scores, None while none is loaded.
        backend: Where it runs: `local:cpu`, `hub` and so on.
        dtype: The number format of the weights.
        breaker: State of the Hub's circuit breaker (`closed`, `open`, `half_open`, `stopped`),
            None if the worker does not use the Hub.
        local_breaker: The same for the local engine, None if there is only one engine.
        waiting_for: Why no engine can score at the moment, None if one can.
        version: The worker's version of sentq; None from a worker that reports none.
        commit: The commit that it was built from, None if that is not known.
        process: Tells processes of the same name apart: random for each.
        revision: The model's commit, or the SHA-256 of its files.
        labels: The first names of labels in outcomes, shortened.
        labels_digest: The same for all names, to compare; it does not depend on their order.
        hub_budget: The limits of the Hub's budget; none if nothing is limited, or before the first
            call.
        models: The models, if there are several, the one that serves first.
        roll: What it does for a roll; None if it has no model that can be rolled.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    worker: str
    at_s: float
    started_at_s: float
    queues: tuple[str, ...] = ()
    jobs_finished: NonNegativeInt = 0
    jobs_per_s: NonNegativeFloat = 0.0
    busy_share: NonNegativeFloat = 0.0
    pace_jobs_per_s: NonNegativeFloat | None = None
    texts_finished: NonNegativeInt = 0
    in_flight_jobs: NonNegativeInt = 0
    oldest_sent_at_s: float | None = None
    model: str | None = None
    backend: str | None = None
    dtype: str | None = None
    breaker: str | None = None
    local_breaker: str | None = None
    waiting_for: str | None = None
    version: str | None = None
    commit: str | None = None
    process: str | None = None
    revision: str | None = None
    labels: tuple[str, ...] = ()
    labels_digest: str | None = None
    hub_budget: tuple[ReportedBudget, ...] = ()
    models: tuple[ReportedModel, ...] = ()
    roll: RollReport | None = None


def report_key(worker: str, prefix: str = "") -> str:
    """Return the key of a worker's report."""
    return f"{prefix}{_KEY_PREFIX}{worker}"


def write_report(
    connection: redis.Redis, report: WorkerReport, *, lifetime_s: int, prefix: str = ""
) -> None:
    """Store a worker's report.

    Args:
        connection: A connection that does not add the prefix to keys.
        report: Replaces the worker's last report.
        lifetime_s: How long it is kept: `MIN_REPORT_LIFETIME_S` or more, several periods of the
            writer.
        prefix: The configured prefix of all keys.

    Raises:
        redis.RedisError: The report was not written.
    """
    _WRITE.run(
        connection,
        [report_key(report.worker, prefix), f"{prefix}{REPORT_INDEX_KEY}"],
        [report.worker, report.model_dump_json(), lifetime_s],
    )


def remove_report(connection: redis.Redis, worker: str, *, prefix: str = "") -> None:
    """Remove the report of a worker that ends.

    Raises:
        redis.RedisError: It was not removed; it expires.
    """
    connection.execute_command("DEL", report_key(worker, prefix))
    connection.execute_command("ZREM", f"{prefix}{REPORT_INDEX_KEY}", worker)


def read_reports(connection: redis.Redis, *, prefix: str = "") -> list[WorkerReport]:
    """Return the reports of all live workers, sorted by name. Unreadable ones are left out.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    call = _read_call(prefix)
    return _parsed(call.script.run(connection, call.keys, call.arguments))


def report_steps(prefix: str = "") -> Steps[list[WorkerReport]]:
    """Do what `read_reports` does, in steps."""
    return _parsed((yield _read_call(prefix)))


def _read_call(prefix: str) -> ScriptCall:
    return ScriptCall(_READ, [f"{prefix}{REPORT_INDEX_KEY}"], [report_key("", prefix)])


def _parsed(found: Sequence[bytes | None]) -> list[WorkerReport]:
    reports = []
    for raw in found:
        try:
            reports.append(WorkerReport.model_validate_json(raw or b""))
        except ValidationError:
            continue
    return sorted(reports, key=lambda report: report.worker)
