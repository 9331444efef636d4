"""`celery inspect active`, `reserved`, `query_task`, and heartbeats: Celery's, and our plain jobs.

Celery finds jobs in sets of its requests. Plain jobs have none, and noting each one there would
cost as much as taking it; they are looked up when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from celery import current_app
from celery.worker import control, heartbeat
from celery.worker.state import active_requests

from sentq.contract import TASK_NAME
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["install"]

_active, _reserved, _query_task = control.active, control.reserved, control.query_task


def install() -> None:
    """Put these answers into Celery's control panel. For a process that runs a worker."""
    for answer, alias in (
        (active, "dump_active"),
        (reserved, "dump_reserved"),
        (query_task, None),
    ):
        control.Panel.data[answer.__name__] = answer
        if alias:
            control.Panel.data[alias] = answer
    heartbeat.active_requests = _ActiveJobs()


class _ActiveJobs:
    """Stands for Celery's set of active requests where heartbeats count it."""

    def __len__(self) -> int:
        batch = current_app.tasks[TASK_NAME].dispatcher.running
        plain = sum(job.is_plain for job in batch.jobs) if batch else 0
        return len(active_requests) + plain


def active(state: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """The jobs that are being scored."""
    return [*_active(state, **kwargs), *_running(state)]


def reserved(state: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """The jobs that wait for the engine."""
    return [*_reserved(state, **kwargs), *_waiting(state)]


def query_task(state: Any, ids: Any, **kwargs: Any) -> dict[str, Any]:
    """What is known of these jobs, by their ids."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    found: dict[str, Any] = _query_task(state, ids, **kwargs)
    for name, jobs in (("reserved", _waiting(state)), ("active", _running(state))):
        found |= {job["id"]: (name, job) for job in jobs if job["id"] in wanted}
    return found


def _waiting(state: Any) -> Iterator[dict[str, Any]]:
    for job in _dispatcher(state).waiting:
        if job.is_plain:
            yield _info(state, job, None)


def _running(state: Any) -> Iterator[dict[str, Any]]:
    batch = _dispatcher(state).running
    for job in batch.jobs if batch else ():
        if job.is_plain:
            yield _info(state, job, batch.started_at_s)


def _info(state: Any, job: InFlightJob, started_at_s: float | None) -> dict[str, Any]:
    return job.info(hostname=state.hostname, worker_pid=os.getpid(), started_at_s=started_at_s)


def _dispatcher(state: Any) -> Any:
    return state.app.tasks[TASK_NAME].dispatcher
