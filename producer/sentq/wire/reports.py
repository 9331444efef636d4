"""Workers' reports: what each says of itself, for `sentq status` and for whoever is refused.

    sentq.worker:<name>   string       one report as JSON, gone when its worker is
    sentq.workers         sorted set   name -> until when its report is kept, in Unix seconds

The second saves readers a search through all keys, of which there may be millions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from sentq.wire.lua import load_script

if TYPE_CHECKING:
    import redis

__all__ = [
    "LEAST_REPORT_LIFETIME_S",
    "WorkerReport",
    "read_reports",
    "remove_report",
    "report_key",
    "write_report",
]

#: The shortest time for which a report is kept: a worker may be slow to write the next one.
LEAST_REPORT_LIFETIME_S: Final = 15

_KEY_PREFIX: Final = "sentq.worker:"
_INDEX_KEY: Final = "sentq.workers"

_WRITE: Final = load_script("sentq.wire", "write_report")
_READ: Final = load_script("sentq.wire", "read_reports")


class WorkerReport(BaseModel):
    """What a worker says of itself. A reader ignores fields that a newer worker added.

    Times are Unix seconds by Redis' clock. `jobs_per_s` is of late, not on average;
    `in_flight_jobs` are taken and not yet answered. `model`, `backend` (`local:cpu`, `hub`) and
    `dtype` say who scores. `breaker` is the state of the way to the Hub (`closed`, `open`,
    `half_open`, `stopped`) and `local_breaker` that of the engine before it, None where there is
    none; `waiting_for` says why the engine cannot answer at the moment, None where it can.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    worker: str
    at_s: float
    started_at_s: float
    queues: tuple[str, ...] = ()
    jobs_finished: NonNegativeInt = 0
    jobs_per_s: NonNegativeFloat = 0.0
    in_flight_jobs: NonNegativeInt = 0
    model: str | None = None
    backend: str | None = None
    dtype: str | None = None
    breaker: str | None = None
    local_breaker: str | None = None
    waiting_for: str | None = None


def report_key(worker: str, prefix: str = "") -> str:
    """Where the report of this worker is."""
    return f"{prefix}{_KEY_PREFIX}{worker}"


def write_report(
    connection: redis.Redis, report: WorkerReport, *, lifetime_s: int, prefix: str = ""
) -> None:
    """Write a report, to be kept for `lifetime_s` seconds.

    Args:
        connection: One that does not add the prefix by itself.
        report: Takes the place of its worker's last one.
        lifetime_s: `LEAST_REPORT_LIFETIME_S` or more: some ticks of the writer.
        prefix: Of all keys, where one is configured.

    Raises:
        redis.RedisError: It was not written.
    """
    _WRITE.run(
        connection,
        [report_key(report.worker, prefix), f"{prefix}{_INDEX_KEY}"],
        [report.worker, report.model_dump_json(), lifetime_s],
    )


def remove_report(connection: redis.Redis, worker: str, *, prefix: str = "") -> None:
    """Remove the report of a worker that has ended.

    Raises:
        redis.RedisError: It goes by itself.
    """
    connection.execute_command("DEL", report_key(worker, prefix))
    connection.execute_command("ZREM", f"{prefix}{_INDEX_KEY}", worker)


def read_reports(connection: redis.Redis, *, prefix: str = "") -> list[WorkerReport]:
    """The reports of the workers that live, by name. What cannot be read is passed over.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    found: list[Any] = _READ.run(connection, [f"{prefix}{_INDEX_KEY}"], [report_key("", prefix)])
    reports = []
    for raw in found:
        try:
            reports.append(WorkerReport.model_validate_json(raw or b""))
        except ValidationError:
            continue
    return sorted(reports, key=lambda report: report.worker)
