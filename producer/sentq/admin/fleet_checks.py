"""Checks of the workers: whether they report, read the queues, score, and agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sentq.admin.findings import DoctorFinding, ok, problem, warning
from sentq.admin.status import ServiceStatus
from sentq.rendering import printable
from sentq.version import VERSION
from sentq.wire.reports import WorkerReport

__all__ = ["check_fleet"]

_NAMED: Final = 3


def check_fleet(status: ServiceStatus) -> list[DoctorFinding]:
    """Check what workers report."""
    return [
        _workers(status),
        *_queues(status),
        _versions(status.workers),
        *_agreement(status),
        _dead_letters(status.dead_letters),
    ]


def _workers(status: ServiceStatus) -> DoctorFinding:
    workers = status.workers
    if not workers:
        return problem(
            "workers",
            "no worker reports",
            "start one with sentq-worker, and check that it has this broker URL and key prefix",
        )
    waiting = [report for report in workers if report.waiting_for]
    if waiting:
        reasons = "; ".join(
            f"{printable(report.worker)}: {printable(report.waiting_for or '')}"
            for report in waiting[:_NAMED]
        )
        level = problem if len(waiting) == len(workers) else warning
        return level(
            "workers", f"{len(waiting)} of {len(workers)} cannot score: {reasons}", "see their logs"
        )
    return ok("workers", f"{len(workers)} report")


def _queues(status: ServiceStatus) -> list[DoctorFinding]:
    findings = []
    for queue in status.queues:
        readers = sum(queue.name in report.queues for report in status.workers)
        check = f"queue {printable(queue.name)}"
        if status.workers and not readers:
            findings.append(
                problem(
                    check,
                    f"{queue.waiting_jobs:,} jobs wait, and no worker reads it",
                    "start a worker with this queue (--queues), or correct `queue` and "
                    "`bulk_queue` here",
                )
            )
        else:
            findings.append(
                ok(check, f"{queue.waiting_jobs:,} jobs wait, {readers} workers read it")
            )
    return findings


def _versions(workers: Sequence[WorkerReport]) -> DoctorFinding:
    others = sorted({report.version or "unknown" for report in workers} - {VERSION})
    message = f"client {VERSION}" + (
        f", workers {', '.join(map(printable, others))}" if others else ""
    )
    far = [version for version in others if not _is_neighbour(version)]
    if far:
        return problem(
            "versions",
            f"{message}: only neighbouring minor versions are tested with each other",
            "upgrade step by step: docs/compatibility.md",
        )
    return ok("versions", message)


def _is_neighbour(version: str) -> bool:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    own_major, own_minor = (int(part) for part in VERSION.split(".")[:2])
    return major == own_major and abs(minor - own_minor) <= 1


def _agreement(status: ServiceStatus) -> list[DoctorFinding]:
    if not status.disagreements:
        return [ok("agreement", "workers of a queue have the same model and labels")]
    return [
        problem(
            f"agreement: {found.topic}",
            f"workers of {', '.join(map(printable, found.queues))} differ: "
            + "; ".join(
                f"{printable(value)} ({len(names)} workers)"
                for value, names in found.values.items()
            ),
            "`sentq status` names them; let all have the same, or give them queues of their own",
        )
        for found in status.disagreements
    ]


def _dead_letters(count: int) -> DoctorFinding:
    if count:
        return warning("dead letters", f"{count:,}", "`sentq dead list` shows why")
    return ok("dead letters", "none")
