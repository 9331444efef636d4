"""Ends a worker whose engine hangs.

An engine that computes is left alone, however long its batch takes: only progress counts.

Python cannot stop a thread that hangs in a kernel or a driver, so the process ends. Its jobs are
delivered again when their leases expire. The delivery is counted as lost, so that a job over
which workers hang again and again runs alone and becomes a dead letter.
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

_CHECKS_PER_LIMIT: Final = 20
_MAX_CHECK_INTERVAL_S: Final = 5.0


class Watchdog(threading.Thread):
    """Checks regularly for how long the engine has made no progress.

    Args:
        stalled_s: Returns for how many seconds; 0 if the engine is idle.
        limit_s: The longest time without progress.
    """

    def __init__(self, stalled_s: Callable[[], float], *, limit_s: float) -> None:
        super().__init__(name="sentq-watchdog", daemon=True)
        self._stalled_s = stalled_s
        self._limit_s = limit_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Check until it is stopped. An engine that hangs for too long ends the process."""
        interval_s = min(self._limit_s / _CHECKS_PER_LIMIT, _MAX_CHECK_INTERVAL_S)
        while not self._stopped.wait(interval_s):
            if self._stalled_s() > self._limit_s:
                self._end_process()

    def stop(self) -> None:
        """Stop checking."""
        self._stopped.set()

    def _end_process(self) -> None:
        logger.critical(
            "the engine has made no progress for more than %.0f s (SENTQ_WORKER_BATCH_LIMIT_S): "
            "this worker exits, and its jobs are delivered again when their leases expire. Check "
            "the logs of the device and the kernel, and start a new worker",
            self._limit_s,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_SOFTWARE)
