"""How a worker is told to end, and how soon: SIGTERM and Ctrl-C, once, twice, three times.

    first    take no more, finish the round in the engine, give back the rest, leave
    second   finish nothing, give back everything, leave
    third    leave; what is held comes back when its lease lapses

A worker that cannot end, because Redis does not answer, leaves all the same when its grace and
some seconds are over.

A worker that loads its model holds nothing yet, and leaves at the first. As process 1 of a
container it is the same: Linux keeps from process 1 only the signals that it does not handle.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final, NoReturn

from celery.exceptions import WorkerShutdown
from celery.worker import state

from sentq_worker.exit_codes import EX_UNAVAILABLE, signal_exit_code

__all__ = ["Shutdown", "leave_at_sigterm"]

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_AT_ONCE: Final = 2

#: How long it may take to close connections, beyond the grace.
_CLOSING_S: Final = 4.0


class Shutdown:
    """Hears the signals, and leaves the first one to Celery.

    Args:
        grace_s: How long the round in the engine may take.
    """

    def __init__(self, *, grace_s: float) -> None:
        self._limit_s = grace_s + _CLOSING_S
        self._limit: threading.Timer | None = None
        self._celerys: dict[int, Any] = {}
        self._worker: Any = None
        self._heard = 0
        #: The exit code of a worker that shall leave at once; None as long as it need not.
        self.hurried_exit_code: int | None = None
        #: Whether nothing is held yet, so that there is nothing to finish.
        self.is_loading = True

    @property
    def is_hurried(self) -> bool:
        """Whether to finish nothing any more."""
        return self.hurried_exit_code is not None

    def install(self, worker: Any) -> None:
        """Take the place of Celery's handlers. In a worker that is embedded, in a thread or
        without handlers of Celery's, the signals are its host's."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._worker = worker
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler) and handler is not signal.default_int_handler:
                self._celerys[number] = handler
                signal.signal(number, self._hear)

    def begin(self) -> None:
        """The worker ends. From now on its time is limited; not if it is embedded, for then the
        process is its host's."""
        if self._limit is None and self._worker is not None:
            self._limit = threading.Timer(self._limit_s, self._give_up)
            self._limit.daemon = True
            self._limit.start()

    def end(self) -> None:
        """The worker has ended."""
        if self._limit is not None:
            self._limit.cancel()

    def _give_up(self) -> None:
        logger.critical(
            "this worker could not end within %.0f s, for Redis does not answer; what it held "
            "comes back as its leases lapse",
            self._limit_s,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_UNAVAILABLE)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard += 1
        if self._heard == 1:
            self.begin()
            self._celerys[number](number, frame)
            # Celery's handler of Ctrl-C puts another in its place.
            signal.signal(number, self._hear)
            if self.is_loading:
                raise WorkerShutdown(state.should_stop)
            if self._worker.hub is not None:
                # Not from here: the loop may be holding the lock that this takes.
                threading.Thread(target=self._wake, daemon=True).start()
        elif self._heard == _AT_ONCE:
            self.hurried_exit_code = signal_exit_code(number)
        else:
            os._exit(signal_exit_code(number))

    def _wake(self) -> None:
        """Let the loop look at once whether to end, and not when something happens next."""
        self._worker.hub.call_soon(_nothing)


def leave_at_sigterm() -> None:
    """For the time before there is a worker: process 1 of a container would pass over a SIGTERM
    that it does not handle."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)


def _nothing() -> None:
    """Wakes a loop by being called."""
