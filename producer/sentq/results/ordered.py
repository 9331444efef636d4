"""Reading the outcomes of many jobs in the order in which they were sent.

Whoever reads in order waits for one job at a time: the oldest. So one subscription does for all,
and as soon as that job ends, one MGET brings it and those behind it that have ended too. Nobody
receives what is not his, however many clients share a Redis.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from sentq.contract import JobOutcome
from sentq.errors import JobError
from sentq.results.reader import ResultReader

__all__ = ["OrderedResults"]

#: How many jobs one round trip looks at.
_LEAST: Final = 8
_MOST: Final = 512


class OrderedResults:
    """Outcomes of the jobs that are expected, one after the other.

    Args:
        results: Where the outcomes are.
        timeout_s: How long to wait for each job; None waits until it ends.
    """

    def __init__(self, results: ResultReader, *, timeout_s: float | None) -> None:
        self._results = results
        self._timeout_s = timeout_s
        self._expected: deque[str] = deque()
        self._ended: dict[str, JobOutcome | JobError] = {}
        self._look_at = _LEAST

    def expect(self, job_id: str) -> None:
        """Expect this job after those before it."""
        self._expected.append(job_id)

    def take(self) -> JobOutcome:
        """Wait for the oldest expected job, which is expected no longer.

        Raises:
            JobError: It has no outcome; the next one can be taken all the same.
            ResultsUnavailable: Redis went away and did not come back in time.
            IndexError: No job is expected.
        """
        job_id = self._expected.popleft()
        if job_id not in self._ended:
            self._look(job_id)
        ended = self._ended.pop(job_id, None) or self._results.wait(
            job_id, timeout_s=self._timeout_s
        )
        if isinstance(ended, JobError):
            raise ended
        return ended

    def _look(self, job_id: str) -> None:
        """Look at this job and at some behind it: at few while the workers are behind, and at
        more and more while they are ahead."""
        ended = self._results.ready([job_id, *islice(self._expected, self._look_at - 1)])
        self._ended |= ended
        self._look_at = min(_MOST, max(_LEAST, 2 * len(ended)))
