"""What Celery's monitors are told of plain jobs: its events, if they are enabled (`-E`), and the
worker's own counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from celery.exceptions import TaskRevokedError
from celery.worker import state

from sentq.contract import TASK_NAME, redacted
from sentq_worker.broker.message import id_in
from sentq_worker.broker.protocols import EventDispatcher
from sentq_worker.jobs.in_flight import InFlightJob
from sentq_worker.jobs.outcomes import JobResult

__all__ = ["TaskEvents"]


class TaskEvents:
    """Sends the events of jobs. Celery gathers them, and publishes many at once. Lives as long as
    the worker."""

    def __init__(self) -> None:
        self._dispatcher: EventDispatcher | None = None

    def attach(self, dispatcher: EventDispatcher | None) -> None:
        """Go on with the dispatcher of a new connection; None sends nothing."""
        self._dispatcher = dispatcher

    def received(self, job: InFlightJob) -> None:
        """A job was taken."""
        if dispatcher := self._enabled_dispatcher:
            headers = job.headers
            dispatcher.send(
                "task-received",
                uuid=job.id,
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
        """Jobs are in the engine. They are counted in any case, as `celery inspect stats` shows."""
        state.total_count.update({TASK_NAME: len(jobs)})
        state.all_total_count[0] += len(jobs)
        if dispatcher := self._enabled_dispatcher:
            for job in jobs:
                dispatcher.send("task-started", uuid=job.id)

    def completed(
        self, results: Iterable[tuple[InFlightJob, JobResult]], *, runtime_s: float
    ) -> None:
        """Jobs have their outcomes, failed as a whole, or were revoked before they were scored."""
        if dispatcher := self._enabled_dispatcher:
            for job, result in results:
                if isinstance(result, TaskRevokedError):
                    fields = {"terminated": False, "signum": None, "expired": False}
                    dispatcher.send("task-revoked", uuid=job.id, **fields)
                elif isinstance(result, Exception):
                    error = repr(result)
                    dispatcher.send("task-failed", uuid=job.id, exception=error, traceback="")
                else:
                    shown = f"<{len(job.texts)} outcomes>"
                    dispatcher.send("task-succeeded", uuid=job.id, result=shown, runtime=runtime_s)

    @property
    def _enabled_dispatcher(self) -> EventDispatcher | None:
        # The dispatcher is on for the worker's heartbeat alone, and would find out for each event
        # anew that events of tasks are off.
        dispatcher = self._dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return None
        groups = dispatcher.groups
        return dispatcher if not groups or "task" in groups else None
