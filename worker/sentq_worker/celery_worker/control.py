"""Remote control: what `celery inspect` shows of plain jobs, and which commands a worker obeys.

Celery finds jobs in sets of its requests. Plain jobs have no request, and to add each one to a set
would cost as much as to take it; they are looked up when a command asks for them.

With `remote_control = "inspect"`, commands that change what a worker does are answered with an
error. The channel of these commands has one name for all workers: a user of Redis who may ask
them may also command them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

from celery import current_app
from celery.worker import control, heartbeat
from celery.worker.state import active_requests

from sentq_worker.celery_worker.protocols import ControlState
from sentq_worker.celery_worker.runtime import runtime_of
from sentq_worker.jobs.in_flight import InFlightJob

__all__ = ["install"]

logger = logging.getLogger(__name__)

_active, _reserved, _query_task = control.active, control.reserved, control.query_task
_hello = control.hello

#: Commands that change nothing that matters. Flower needs the first one.
_HARMLESS_CONTROL: Final = frozenset({"enable_events", "heartbeat"})

#: A command that Celery counts among those that only look, and that writes files.
_WRITES_FILES: Final = frozenset({"objgraph"})
_scheduled, _revoke, _terminate = control.scheduled, control.revoke, control.terminate

#: How many scheduled jobs are shown: those that are due first.
_MAX_SHOWN: Final = 100

#: The priority that Celery's timer gives jobs with an eta.
_ETA_PRIORITY: Final = 6

#: What `celery inspect` shows of a job.
_JobInfo = dict[str, object]


def install(*, only_inspect: bool) -> None:
    """Replace Celery's commands by these. For a process that runs a worker.

    Args:
        only_inspect: Refuse commands that change what the worker does.
    """
    for command, alias in (
        (active, "dump_active"),
        (reserved, "dump_reserved"),
        (scheduled, "dump_schedule"),
        (query_task, None),
        (revoke, None),
        (terminate, None),
    ):
        control.Panel.data[command.__name__] = command
        if alias:
            control.Panel.data[alias] = command
    heartbeat.active_requests = _ActiveJobs()
    if only_inspect:
        _refuse_changes()


def _refuse_changes() -> None:
    refused_once: set[str] = set()
    for name, meta in control.Panel.meta.items():
        if name in _WRITES_FILES or (meta.type == "control" and name not in _HARMLESS_CONTROL):
            command = partial(_refuse, name, refused_once)
            for each in filter(None, (name, meta.alias)):
                control.Panel.data[each] = command
    control.Panel.data["hello"] = _hello_without_revocations


def _refuse(
    name: str,
    refused_once: set[str],
    state: ControlState,  # noqa: ARG001 - Celery passes it
    /,
    **kwargs: object,  # noqa: ARG001
) -> dict[str, str]:
    """Return the reply to a command that is refused."""
    if name not in refused_once:
        refused_once.add(name)
        logger.warning("the remote control command %s was refused; this is logged once", name)
    return {"error": "this worker obeys no such command: worker.remote_control is inspect"}


def _hello_without_revocations(state: ControlState, from_node: str, **kwargs: object) -> object:
    """Reply to a worker that starts, and accept none of the revocations that it claims to know."""
    kwargs.pop("revoked", None)
    return _hello(state, from_node, **kwargs)


class _ActiveJobs:
    """Replaces Celery's set of active requests where heartbeats count it."""

    def __len__(self) -> int:
        batches = runtime_of(current_app).dispatcher.running
        plain = sum(job.is_plain for batch in batches for job in batch.jobs)
        return len(active_requests) + plain


def active(state: ControlState, **kwargs: object) -> list[_JobInfo]:
    """Return the jobs that are being scored."""
    return [*_active(state, **kwargs), *_running(state)]


def reserved(state: ControlState, **kwargs: object) -> list[_JobInfo]:
    """Return the jobs that wait for the engine."""
    return [*_reserved(state, **kwargs), *_pending(state)]


def scheduled(state: ControlState, **kwargs: object) -> list[_JobInfo]:
    """Return the jobs that wait for their eta: those of all workers, as they wait in Redis."""
    shown: list[_JobInfo] = _scheduled(state, **kwargs)
    for job_id, at_s in runtime_of(state.app).schedule.first(_MAX_SHOWN):
        eta = datetime.fromtimestamp(at_s, UTC).isoformat()
        request = {"id": job_id, "name": None, "args": "<texts>", "kwargs": "{}"}
        shown.append({"eta": eta, "priority": _ETA_PRIORITY, "request": request})
    return shown


def revoke(state: ControlState, task_id: str | list[str], **kwargs: object) -> object:
    """Revoke jobs, scheduled ones too."""
    reply = _revoke(state, task_id, **kwargs)
    _end_scheduled(state, task_id)
    return reply


def terminate(
    state: ControlState, signal: str, task_id: str | list[str], **kwargs: object
) -> object:
    """Revoke jobs, scheduled ones too. One that is being scored is not stopped."""
    reply = _terminate(state, signal, task_id, **kwargs)
    _end_scheduled(state, task_id)
    return reply


def _end_scheduled(state: ControlState, task_id: object) -> None:
    ids = task_id if isinstance(task_id, list) else [task_id]
    runtime_of(state.app).schedule.end(job_id for job_id in ids if isinstance(job_id, str))


def query_task(
    state: ControlState, ids: str | list[str], **kwargs: object
) -> dict[object, tuple[str, _JobInfo]]:
    """Return what is known of these jobs, by their ids."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    found: dict[object, tuple[str, _JobInfo]] = _query_task(state, ids, **kwargs)
    for name, jobs in (("reserved", _pending(state)), ("active", _running(state))):
        found |= {job["id"]: (name, job) for job in jobs if job["id"] in wanted}
    return found


def _pending(state: ControlState) -> Iterator[_JobInfo]:
    for job in runtime_of(state.app).dispatcher.pending:
        if job.is_plain:
            yield _info(state, job, None)


def _running(state: ControlState) -> Iterator[_JobInfo]:
    for batch in runtime_of(state.app).dispatcher.running:
        for job in batch.jobs:
            if job.is_plain:
                yield _info(state, job, batch.started_at_s)


def _info(state: ControlState, job: InFlightJob, started_at_s: float | None) -> _JobInfo:
    return job.info(hostname=state.hostname, worker_pid=os.getpid(), started_at_s=started_at_s)
