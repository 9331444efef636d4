"""The pace of a worker: how many jobs it completes in a second while it has jobs.

The rate in a report falls to 0 when nothing is sent; the pace does not. So it tells, as soon as a
backlog is there, how long the worker will need.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pace"]

#: The shortest time with jobs in the engine over which a pace is measured.
_WINDOW_S: Final = 5.0


class Pace:
    """Measures the pace, from one window to the next."""

    def __init__(self) -> None:
        self._jobs_then = 0
        self._occupied_then_s = 0.0
        self._is_whole = False
        #: The jobs a second; None before the first job was completed.
        self.jobs_per_s: float | None = None

    def measure(self, jobs_finished: int, occupied_s: float) -> None:
        """Measure, if a window is over. Before the first whole window, what there is counts.

        Args:
            jobs_finished: How many jobs were completed so far.
            occupied_s: For how long there were jobs in the engine so far.
        """
        jobs = jobs_finished - self._jobs_then
        window_s = occupied_s - self._occupied_then_s
        if jobs <= 0 or window_s <= 0:
            return  # One long job: its end will tell.
        is_over = window_s >= _WINDOW_S
        if is_over or not self._is_whole:
            self.jobs_per_s = jobs / window_s
        if is_over:
            self._jobs_then, self._occupied_then_s = jobs_finished, occupied_s
            self._is_whole = True
