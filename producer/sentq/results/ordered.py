"""Read the outcomes of many jobs in the order in which they were sent.

An ordered reader waits for one job at a time: the oldest. So one subscription is enough. When that
job ends, one MGET returns its outcome and those of later jobs that have ended too. A client
receives only the outcomes of its own jobs, however many clients share a Redis.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from sentq.contract import JobOutcome
from sentq.errors import JobError, ResultsUnavailable
from sentq.results.steps import ResultSteps
from sentq.wire.steps import Deadline, Steps

__all__ = ["MOST_JOBS_READ", "OrderedResults"]

#: How many jobs one round trip reads.
_MIN_JOBS: Final = 8
MOST_JOBS_READ: Final = 512


class OrderedResults:
    """The outcomes of expected jobs, one after the other.

    Args:
        results: The steps that read outcomes.
        timeout_s: How long to wait for each job, in seconds; None waits until it ends.
        read_jobs: Most outcomes that are read in one round trip, and kept until they are received.
    """

    def __init__(
        self, results: ResultSteps, *, timeout_s: float | None, read_jobs: int = MOST_JOBS_READ
    ) -> None:
        self._results = results
        self._most_jobs = read_jobs
        self._timeout_s = timeout_s
        self._expected: deque[str] = deque()
        self._ended: dict[str, JobOutcome | JobError] = {}
        self._jobs_per_read = min(_MIN_JOBS, read_jobs)
        self._has_read = False

    def expect(self, job_id: str) -> None:
        """Expect a job after all that are expected already."""
        self._expected.append(job_id)

    def receive_steps(self) -> Steps[JobOutcome]:
        """Wait for the outcome of the oldest expected job, and expect that job no longer.

        Raises:
            JobError: The job has no outcome. The next job can be received all the same.
            ResultsUnavailable: Redis was not available for too long.
            IndexError: No job is expected.
        """
        ended = yield from self.end_steps()
        if isinstance(ended, JobError):
            raise ended
        return ended

    def end_steps(self) -> Steps[JobOutcome | JobError]:
        """Do what `receive_steps` does, but return the error of a job.

        Raises:
            ResultsUnavailable: Redis was not available for too long.
            IndexError: No job is expected.
        """
        job_id = self._expected.popleft()
        is_away = job_id not in self._ended and not (yield from self._read_ended_steps(job_id))
        ended = self._ended.pop(job_id, None)
        if ended is not None:
            return ended
        deadline = Deadline(self._timeout_s)
        try:
            return (yield from self._results.wait_steps(job_id, deadline, is_away=is_away))
        except JobError as error:
            return error

    def ended_already(self) -> JobOutcome | JobError | None:
        """Return what was read of the oldest expected job, and expect that job no longer; None if
        it takes steps to know. To run steps takes a tenth of the time of an outcome.

        Raises:
            IndexError: No job is expected.
        """
        ended = self._ended.pop(self._expected[0], None)
        if ended is not None:
            self._expected.popleft()
        return ended

    def _read_ended_steps(self, job_id: str) -> Steps[bool]:
        """Read this job and some after it: few while the workers are slower than the reader, more
        and more while they are faster. Return whether Redis replied.

        Raises:
            ResultsUnavailable: Redis did not reply, and has not replied before.
        """
        ids = [job_id, *islice(self._expected, self._jobs_per_read - 1)]
        try:
            ended = yield from self._results.ready_steps(ids)
        except ResultsUnavailable:
            if not self._has_read:
                raise
            return False
        self._has_read = True
        self._ended |= ended
        self._jobs_per_read = min(self._most_jobs, max(_MIN_JOBS, 2 * len(ended)))
        return True
