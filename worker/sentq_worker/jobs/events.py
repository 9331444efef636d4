"""What Celery's monitors hear of plain jobs: its events, where somebody asked for them (`-E`),
and the worker's own counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery.worker import state

from sentq.contract import TASK_NAME, redacted
from sentq_worker.broker.message import id_in
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["TaskEvents"]


class TaskEvents:
    """Sends the events of jobs on one connection. Celery gathers them, and publishes many at once.

    Args:
        eventer: Celery's event dispatcher; None announces nothing.
    """

    def __init__(self, eventer: Any = None) -> None:
        self._eventer = eventer

    def received(self, job: InFlightJob) -> None:
        """A job was taken."""
        if self._events_enabled:
            headers = job.headers
            self._send(
                "task-received",
                job,
                name=TASK_NAME,
                args=redacted(len(job.texts)),
                kwargs="{}",
                root_id=id_in(headers, "root_id"),
                parent_id=id_in(headers, "parent_id"),
                retries=0,
                eta=None,
                expires=None,
            )

    def started(self, jobs: Sequence[InFlightJob]) -> None:
        """Jobs are in the engine. Counted, as `celery inspect stats` shows it, in any case."""
        state.total_count.update({TASK_NAME: len(jobs)})
        state.all_total_count[0] += len(jobs)
        if self._events_enabled:
            for job in jobs:
                self._send("task-started", job)

    def succeeded(self, jobs: Sequence[InFlightJob], *, runtime_s: float) -> None:
        """Jobs were answered."""
        if self._events_enabled:
            for job in jobs:
                result = f"<{len(job.texts)} outcomes>"
                self._send("task-succeeded", job, result=result, runtime=runtime_s)

    def failed(self, jobs: Sequence[InFlightJob], error: Exception) -> None:
        """Jobs failed as a whole."""
        if self._events_enabled:
            for job in jobs:
                self._send("task-failed", job, exception=repr(error), traceback="")

    def revoked(self, jobs: Sequence[InFlightJob]) -> None:
        """Jobs were revoked before they were scored."""
        if self._events_enabled:
            for job in jobs:
                self._send("task-revoked", job, terminated=False, signum=None, expired=False)

    @property
    def _events_enabled(self) -> bool:
        # The dispatcher is on for the worker's heartbeat alone, and would find out for each
        # event anew that nobody wants it.
        if self._eventer is None or not self._eventer.enabled:
            return False
        groups = self._eventer.groups
        return not groups or "task" in groups

    def _send(self, kind: str, job: InFlightJob, **fields: Any) -> None:
        self._eventer.send(kind, uuid=job.id, **fields)
