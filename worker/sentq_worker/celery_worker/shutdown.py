"""Ending a worker by signals: SIGTERM and Ctrl-C, once, twice, three times.

    first    take no more, complete the batch in the engine, requeue the rest, exit
    second   complete nothing, requeue everything, exit
    third    exit; the jobs in flight are delivered again when their leases expire

A worker that cannot end, because Redis does not answer, exits when its grace and some seconds are
over.

A worker that loads its model has no jobs yet, and exits at the first signal. The same holds for
process 1 of a container: Linux ignores only the signals that process 1 does not handle.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

from celery.exceptions import WorkerShutdown
from celery.worker import state

from sentq_worker.celery_worker.protocols import WorkController
from sentq_worker.exit_codes import EX_UNAVAILABLE, signal_exit_code

__all__ = ["Shutdown", "exit_at_sigterm"]

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

#: The signal that ends a worker at once.
_AT_ONCE: Final = 2

#: How long it may take to close connections, beyond the grace.
_CLOSING_S: Final = 4.0


class Shutdown:
    """Handles the signals, and passes the first one on to Celery.

    Args:
        grace_s: How long the batch in the engine may take.
    """

    def __init__(self, *, grace_s: float) -> None:
        self._limit_s = grace_s + _CLOSING_S
        self._limit: threading.Timer | None = None
        self._celerys: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._worker: WorkController | None = None
        self._received = 0
        #: Whether the worker ends.
        self.has_begun = False
        #: The exit code of a worker that shall exit at once; None as long as it need not.
        self.hurried_exit_code: int | None = None
        #: Whether the worker has no jobs yet, so that there is nothing to complete.
        self.is_loading = True

    @property
    def is_hurried(self) -> bool:
        """Whether to complete no more jobs."""
        return self.hurried_exit_code is not None

    @property
    def signals_received(self) -> int | None:
        """How many signals have come; None while Python's or Celery's handlers are in place."""
        return None if self._worker is None else self._received

    def install(self, worker: WorkController) -> None:
        """Replace Celery's handlers. In a worker that is embedded, in a thread or without
        handlers of Celery's, the signals belong to the host process."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._worker = worker
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler) and handler is not signal.default_int_handler:
                self._celerys[number] = handler
                signal.signal(number, self._handle)

    def begin(self) -> None:
        """The worker ends. From now on its time is limited. The time of an embedded worker is
        not: its process belongs to the host."""
        self.has_begun = True
        if self._limit is None and self._worker is not None:
            self._limit = threading.Timer(self._limit_s, self._exit_unfinished)
            self._limit.daemon = True
            self._limit.start()

    def end(self) -> None:
        """The worker has ended."""
        if self._limit is not None:
            self._limit.cancel()

    def _exit_unfinished(self) -> None:
        logger.critical(
            "this worker could not end within %.0f s because Redis does not answer; its jobs are "
            "delivered again when their leases expire",
            self._limit_s,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_UNAVAILABLE)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if self._received == 1:
            self.begin()
            self._celerys[number](number, frame)
            # Celery's handler of Ctrl-C replaces this one.
            signal.signal(number, self._handle)
            if self.is_loading:
                raise WorkerShutdown(state.should_stop)
            if self._worker is not None and self._worker.hub is not None:
                # In a thread of its own: the loop may be holding the lock that this takes.
                wake = self._worker.hub.call_soon
                threading.Thread(target=wake, args=(_nothing,), daemon=True).start()
        elif self._received == _AT_ONCE:
            self.hurried_exit_code = signal_exit_code(number)
        else:
            os._exit(signal_exit_code(number))


def exit_at_sigterm() -> None:
    """Exit at SIGTERM before there is a worker. Without a handler, process 1 of a container would
    ignore the signal."""

    def handle(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, handle)


def _nothing() -> None:
    """Wakes a loop by being called: it checks at once whether to end."""
