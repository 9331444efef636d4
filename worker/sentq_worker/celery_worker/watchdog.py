"""Ends a worker whose engine does not come back from a round.

Nothing in Python can stop a thread that hangs in a kernel or a driver. So the process ends: what
it held comes back when its leases lapse, and is counted as lost, so that a job over which
workers hang time and again runs alone and becomes a dead letter.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from sentq_worker.exit_codes import EX_SOFTWARE

__all__ = ["Watchdog"]

logger = logging.getLogger(__name__)

_LOOKS_PER_LIMIT: Final = 20
_LOOK_AT_LEAST_EVERY_S: Final = 5.0


class Watchdog(threading.Thread):
    """Looks now and then how long the engine has been busy with one round.

    Args:
        busy_s: Says how long, in seconds; 0 where it is idle.
        limit_s: The hard limit of one round.
    """

    def __init__(self, busy_s: Callable[[], float], *, limit_s: float) -> None:
        super().__init__(name="sentq-watchdog", daemon=True)
        self._busy_s = busy_s
        self._limit_s = limit_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until it is told to stop. Never returns from a round that takes too long."""
        pause_s = min(self._limit_s / _LOOKS_PER_LIMIT, _LOOK_AT_LEAST_EVERY_S)
        while not self._stopped.wait(pause_s):
            if self._busy_s() > self._limit_s:
                self._end_the_process()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()

    def _end_the_process(self) -> None:
        logger.critical(
            "the engine has not come back from a round for %.0f s (SENTQ_WORKER_BATCH_LIMIT_S): "
            "this worker ends, and its jobs come back when their leases lapse. Look at the "
            "device's and the kernel's log, and start a new worker",
            self._limit_s,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_SOFTWARE)
