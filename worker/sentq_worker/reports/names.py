"""The name of a worker: unique on its host unless a setting or an option gives it another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import click
from celery.app import trace
from celery.utils.nodenames import NODENAME_DEFAULT, default_nodename, gethostname, host_format

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["name_worker", "worker_name"]

#: The option of `celery worker` that names the worker.
_CELERYS_OPTION = "hostname"


class _NamedWorker(Protocol):
    """A worker that Celery makes, `celery.worker.WorkController`."""

    hostname: str

    @property
    def app(self) -> Celery: ...


def worker_name(template: str | None) -> str:
    """Return the name of the worker in this process, such as `celery-4711@host`.

    Args:
        template: As Celery's `-n`: `%h` is the host, `%n` its first part, `%d` its domain, `%i` the
            number of a pool process, which is 0 here. Without an `@` it is the host alone. None
            makes a name of the process id.
    """
    if template is None:
        return f"{NODENAME_DEFAULT}-{os.getpid()}@{gethostname()}"
    name: str = host_format(default_nodename(template))
    return name


def name_worker(worker: _NamedWorker, template: str | None) -> None:
    """Name a worker that Celery is about to make, unless `celery worker -n` has done so.

    Args:
        worker: As the signal `celeryd_init` has it.
        template: See `worker_name`.
    """
    if _is_named_by_celerys_command():
        return
    worker.hostname = worker_name(template)
    trace.setup_worker_optimizations(worker.app, worker.hostname)  # Celery's own, with this name.


def _is_named_by_celerys_command() -> bool:
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source(_CELERYS_OPTION) if context else None
    return source is click.core.ParameterSource.COMMANDLINE
