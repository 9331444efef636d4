"""Log lines as JSON: one object on each line, with the same fields from every program of sentq.

    {"time": "2026-11-28T09:30:00.123Z", "level": "debug", "logger": "sentq_worker.jobs.dispatcher",
     "message": "2 jobs completed after 0.031 s", "worker": "gpu0@host", "process": 4711,
     "thread": "MainThread", "jobs": 2, "job_ids": ["…", "…"], "trace_ids": ["…"]}

A line holds only the fields that are named here, also if a library gives its records others.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = [
    "JsonFormatter",
    "job_fields",
    "log_as_json",
    "log_service_as_json",
    "log_uncaught_errors",
]

logger = logging.getLogger(__name__)

#: The most characters of a message, and of a traceback. Docker splits lines at 16 KiB.
_MAX_CHARS: Final = 8 * 1024

#: The most ids in one line, and the most characters of each. A sender chooses the id of its job.
_MAX_IDS: Final = 128
_MAX_ID_CHARS: Final = 64

#: What records of sentq have in addition: the `extra` of their calls.
_EXTRA_FIELDS: Final = ("job_id", "jobs", "job_ids", "trace_id", "trace_ids", "span_id")

#: Under this name Celery gives its records what it knows of a task.
_CELERYS_DATA: Final = "data"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON in ASCII.

    Args:
        worker: Returns the name of the worker; None in another program.
        current_trace: Returns `trace_id` and `span_id` of the span in which a line is logged.
    """

    def __init__(
        self,
        *,
        worker: Callable[[], str | None] = lambda: None,
        current_trace: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__()
        self._worker = worker
        self._current_trace = current_trace

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(_message(record), _MAX_CHARS),
        }
        if worker := self._worker():
            line["worker"] = worker
        line |= {"process": record.process, "thread": record.threadName}
        line |= self._current_trace()
        line |= _extra(record)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            # The end of a traceback tells most.
            line["traceback"] = self.formatException(record.exc_info)[-_MAX_CHARS:]
        return json.dumps(line)


def job_fields(ids: Iterable[str], trace_ids: Iterable[str] = ()) -> dict[str, object]:
    """Return the `extra` of a line about several jobs.

    Args:
        ids: The ids of the jobs. The first of them are named, and all are counted.
        trace_ids: The ids of the traces in which their senders sent them.
    """
    names, traces = [*ids], [*dict.fromkeys(trace_ids)]
    fields: dict[str, object] = {"jobs": len(names), "job_ids": names}
    return fields | ({"trace_ids": traces} if traces else {})


def log_as_json(formatter: JsonFormatter, *, level: int | str, file: str | None = None) -> None:
    """Have every logger of this process write its lines with this formatter, and nowhere else.

    Args:
        formatter: Formats the lines.
        level: The least severe lines that are logged.
        file: The file to which they are appended; None for the standard error stream.
    """
    from logging.handlers import WatchedFileHandler

    handler = (
        logging.StreamHandler(sys.__stderr__)
        if file is None
        else WatchedFileHandler(Path(file), encoding="utf-8")
    )
    handler.setFormatter(formatter)
    for library in list(logging.root.manager.loggerDict.values()):
        # transformers and huggingface_hub have handlers of their own.
        if isinstance(library, logging.Logger) and not all(
            isinstance(each, logging.NullHandler) for each in library.handlers
        ):
            library.handlers.clear()
            library.propagate = True
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(capture=True)


def log_service_as_json() -> None:
    """Log lines of JSON in a process that serves: what it says, and errors that nothing catches."""
    log_as_json(JsonFormatter(), level=logging.INFO)
    log_uncaught_errors()


def log_uncaught_errors() -> None:
    """Log errors that nothing catches, in any thread, in place of Python's own output."""
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logger.critical("an error was not caught", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        logger.error(
            "an error was not caught in the thread %s",
            args.thread.name if args.thread else "?",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )


def _log_unraisable(args: UnraisableHookArgs) -> None:
    # Not what it was raised in: the repr of an object may show a text.
    if args.exc_value is not None:
        logger.error(
            "an error could not be raised",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - any class may fail to be shown
        return f"{record.msg} ({type(error).__name__}: its arguments do not fit)"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    given = vars(record)
    fields: dict[str, object] = {}
    data = given.get(_CELERYS_DATA)
    if isinstance(data, dict) and isinstance(data.get("id"), str):
        fields["job_id"] = _cut(data["id"], _MAX_ID_CHARS)
    for name in _EXTRA_FIELDS:
        match given.get(name):
            case str() as value:
                fields[name] = _cut(value, _MAX_ID_CHARS)
            case int() as value:
                fields[name] = value
            case list() as values:
                fields[name] = [_cut(str(value), _MAX_ID_CHARS) for value in values[:_MAX_IDS]]
    return fields


def _cut(text: str, most_chars: int) -> str:
    return text if len(text) <= most_chars else f"{text[:most_chars]}…"
