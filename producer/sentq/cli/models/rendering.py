"""What `sentq models` prints of a state, and of workers."""

from __future__ import annotations

from rich.table import Table

from sentq.admin.models import ModelsStatus
from sentq.rendering import printable
from sentq.wire.agreement import with_revision
from sentq.wire.reports import WorkerReport
from sentq.wire.roll.report import RollReport
from sentq.wire.roll.state import RollState

__all__ = ["described", "workers_table"]


def workers_table(found: ModelsStatus) -> Table:
    """Return a table of workers: how far each is, and its models."""
    table = Table("worker", "stage", "serving", "candidate", "texts", box=None, pad_edge=False)
    for report in found.workers:
        table.add_row(*_cells(report, found))
    return table


def described(state: RollState) -> str:
    """Return which model serves, and what the candidate does."""
    if state.candidate is None:
        return f"{state.serving} serves"
    how = " in its shadow" if state.is_shadow else ""
    return f"{state.serving} serves, {state.candidate}{how} for {state.share * 100:.4g}% of jobs"


def _cells(report: WorkerReport, found: ModelsStatus) -> list[str]:
    stage, roll = found.stages()[report.worker], report.roll or RollReport()
    engine = with_revision(report.model, report.revision)
    texts = (f"{model.name} {model.texts_finished:,}" for model in report.models)
    cells = (
        *(report.worker, stage or "cannot be rolled", f"{roll.serving}: {engine}"),
        *(roll.candidate or "", ", ".join(texts)),
    )
    return [printable(cell) for cell in cells]
