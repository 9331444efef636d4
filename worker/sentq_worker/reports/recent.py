"""What a worker has done in the last ten seconds: its rate, and the share of time with jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["RecentWork"]

#: The length of the window that is measured.
_WINDOW_S: Final = 10.0


class RecentWork:
    """Measures recent work, from one window to the next.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s = clock()
        self._jobs_then = 0
        self._occupied_then_s = 0.0
        self.jobs_per_s = 0.0
        #: For which share of the time there were jobs in the engine: 0 to 1.
        self.busy_share = 0.0

    def measure(self, jobs_finished: int, occupied_s: float) -> None:
        """Measure, if a window is over. After a window without jobs, what there is counts.

        Args:
            jobs_finished: How many jobs were completed so far.
            occupied_s: For how long there were jobs in the engine so far.
        """
        elapsed_s = self._clock() - self._since_s
        jobs, occupied_s = jobs_finished - self._jobs_then, occupied_s - self._occupied_then_s
        is_over = elapsed_s >= _WINDOW_S
        if is_over or not self.jobs_per_s:
            elapsed_s = max(elapsed_s, 0.001)
            self.jobs_per_s = jobs / elapsed_s
            self.busy_share = min(1.0, occupied_s / elapsed_s)
        if is_over:
            self._since_s += elapsed_s
            self._jobs_then += jobs
            self._occupied_then_s += occupied_s
