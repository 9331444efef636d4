"""Jobs with their outcomes in the order in which they end, in an event loop.

A task waits for each of the first jobs; all of them share one connection. The others are waited for
as these end, and those that have ended meanwhile are found in one round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from itertools import islice
from typing import Final

from sentq.aio.driver import Drivers
from sentq.contract import JobOutcome
from sentq.errors import JobError, WaitTimeout
from sentq.results.completed import Ended, ended_among_steps
from sentq.results.steps import ResultSteps
from sentq.wire.steps import Deadline

__all__ = ["completed_jobs"]

#: How many jobs are waited for at a time, and how many one round trip reads.
_WAITING_JOBS: Final = 1000
_READ_JOBS: Final = 256


async def completed_jobs(
    results: ResultSteps, drivers: Drivers, job_ids: Iterable[str], *, timeout_s: float | None
) -> AsyncGenerator[tuple[str, Ended], None]:
    """Yield each of these jobs with its outcome, or its error, as it ends.

    Args:
        results: The steps that read outcomes.
        drivers: Run the steps.
        job_ids: The jobs. One that is there twice is yielded once.
        timeout_s: Seconds to wait for the next one at most; None waits until one ends.

    Raises:
        WaitTimeout: No job ended in time; it names one of those that are left.
        ResultsUnavailable: Redis was not available for too long.
    """
    left = dict.fromkeys(job_ids)
    waiting: dict[asyncio.Task[JobOutcome], str] = {}
    try:
        while left or waiting:
            while left and len(waiting) < _WAITING_JOBS:
                ids = list(islice(left, min(_READ_JOBS, _WAITING_JOBS - len(waiting))))
                ended = await drivers.current().run(ended_among_steps(results, ids))
                for job_id in ids:
                    del left[job_id]
                    if job_id not in ended:
                        wait = drivers.current().run(results.wait_steps(job_id, Deadline(None)))
                        waiting[asyncio.create_task(wait)] = job_id
                for job_id, outcome in ended.items():
                    yield job_id, outcome
            if not waiting:
                continue
            done, _ = await asyncio.wait(
                waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                job_id = next(iter(waiting.values()))
                raise WaitTimeout(f"no job ended in time; job {job_id} has not", job_id)
            for task in done:
                yield waiting.pop(task), _ended(task)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _ended(task: asyncio.Task[JobOutcome]) -> Ended:
    """Return the outcome of a task that waited for a job, or the error of the job."""
    try:
        return task.result()
    except JobError as error:
        return error
