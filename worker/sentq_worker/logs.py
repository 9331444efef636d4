"""The log of a worker, if `log_format` is `json`.

Celery takes over Python's root logger as a worker starts, prints a banner, and writes what it says
of signals past all loggers. Here its signals are used to have all of that as lines of JSON too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from celery import signals
from celery.apps import worker as celerys_worker
from celery.utils.log import get_logger

from sentq.logs import JsonFormatter, log_as_json, log_uncaught_errors
from sentq.tracing.spans import current_ids

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["LoggedWorker", "use_json"]

#: The logger under which Celery logs what is printed.
_PRINTED: Final = "celery.redirected"


class LoggedWorker(Protocol):
    """What is needed of Celery's worker."""

    app: Celery
    hostname: str
    quiet: bool


def use_json(worker: LoggedWorker) -> None:
    """Have a worker that begins to start log lines of JSON. Call it as Celery sends
    `celeryd_init`, before it sets up its log."""
    formatter = JsonFormatter(worker=lambda: worker.hostname, current_trace=current_ids)

    def set_up(loglevel: int, logfile: str | None, **_: object) -> None:
        log_as_json(formatter, level=loglevel, file=logfile)
        if worker.app.conf.worker_redirect_stdouts:
            worker.app.log.redirect_stdouts_to_logger(
                get_logger(_PRINTED), loglevel=worker.app.conf.worker_redirect_stdouts_level
            )

    # Celery warns, as of root privileges, before it sets up its log.
    log_as_json(formatter, level=logging.WARNING)
    log_uncaught_errors()
    signals.setup_logging.connect(set_up, weak=False, dispatch_uid="sentq_worker.logs")
    worker.quiet = True  # No banner.
    celerys_worker.safe_say = _say


def _say(message: str, file: object = None) -> None:  # noqa: ARG001 - its signature is Celery's
    """Write what Celery says in a signal handler, which may have interrupted a logger: so without
    one."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": logging.getLevelName(logging.INFO).lower(),
        "logger": celerys_worker.__name__,
        "message": message,
        "process": os.getpid(),
    }
    if sys.__stderr__ is not None:
        os.write(sys.__stderr__.fileno(), f"{json.dumps(line)}\n".encode())
