"""Ends a worker whose event loop stands still.

The loop takes jobs and completes them; a thread of its own renews the leases. So a worker whose
loop stood still would keep its jobs for ever, and no other worker could have them. Here a timer in
the loop beats, and a thread checks that it does. If not, the leases are renewed no longer, and the
process ends; its jobs are delivered again.

The loop does not turn, and is not expected to, while Celery connects, and while a task of the
application's own runs. Time in which Redis does not answer is not counted: Celery waits for it in
the loop. Nor is time in which the process was suspended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from sentq_worker.broker.protocols import EventLoop
from sentq_worker.exit_codes import EX_SOFTWARE

__all__ = ["LoopWatchdog"]

logger = logging.getLogger(__name__)

_CHECKS_PER_LIMIT: Final = 20
_MAX_CHECK_INTERVAL_S: Final = 1.0

#: A check that comes later than so many intervals says that the process was suspended.
_MAX_INTERVALS: Final = 3


class LoopWatchdog:
    """Watches the event loop of one worker.

    Args:
        limit_s: How long the loop may stand still.
        end_process: Ends the process.
    """

    def __init__(self, *, limit_s: float, end_process: Callable[[], object] | None = None) -> None:
        self._limit_s = limit_s
        self._interval_s = min(limit_s / _CHECKS_PER_LIMIT, _MAX_CHECK_INTERVAL_S)
        self._end_process = end_process or self._exit
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_watching = False
        self._beats = 0
        self._generation = 0
        #: For how many seconds the loop has stood still.
        self._still_s = 0.0
        #: Tells whether Redis answered last. The leases set it.
        self.is_redis_away: Callable[[], bool] = lambda: False

    @property
    def is_loop_turning(self) -> bool:
        """Whether the loop turns, as far as is known. Any thread may ask."""
        return self._still_s <= self._limit_s

    @property
    def is_watching(self) -> bool:
        """Whether the loop is expected to turn: it takes jobs of a connection."""
        return self._is_watching

    @property
    def still_s(self) -> float:
        """For how many seconds the loop has stood still, as of the last check."""
        return self._still_s

    @property
    def limit_s(self) -> float:
        """For how many seconds it may."""
        return self._limit_s

    def watch(self, loop: EventLoop) -> None:
        """Watch a loop from now on: that of a new connection. Call it in the loop's thread."""
        self._generation += 1
        self._beat(loop, self._generation)
        self._is_watching = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sentq-loop", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Watch no longer: the connection ends, and its loop with it."""
        self._is_watching = False
        self._generation += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not expect the loop to turn while the block runs in it."""
        was_watching, self._is_watching = self._is_watching, False
        try:
            yield
        finally:
            self._beats += 1
            self._is_watching = was_watching

    def stop(self) -> None:
        """Stop for good: the worker ends."""
        self.pause()
        self._stopped.set()

    def _beat(self, loop: EventLoop, generation: int) -> None:
        if generation == self._generation:
            self._beats += 1
            loop.call_later(self._interval_s, self._beat, loop, generation)

    def _run(self) -> None:
        beats, checked_at = self._beats, time.monotonic()
        while not self._stopped.wait(self._interval_s):
            now = time.monotonic()
            elapsed_s, checked_at = now - checked_at, now
            if beats != self._beats or not self._is_watching or self.is_redis_away():
                beats, self._still_s = self._beats, 0.0
                continue
            self._still_s += min(elapsed_s, _MAX_INTERVALS * self._interval_s)
            if not self.is_loop_turning:
                self._end_process()
                return

    def _exit(self) -> None:
        logger.critical(
            "the worker's event loop has stood still for more than %.0f s "
            "(SENTQ_WORKER_LOOP_LIMIT_S): this worker exits, and its jobs are delivered again when "
            "their leases expire",
            self._limit_s,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_SOFTWARE)
