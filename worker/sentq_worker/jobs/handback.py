"""Jobs that take Celery's own path: scored with the others, and finished by Celery.

Such a job waits in the dispatcher like any other. When its outcome is there Celery runs the
task, whose body finds the outcome and returns at once: so nothing waits in Celery's loop, and
results, chains, callbacks and signals are all Celery's.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CeleryHandback", "JobResult", "PreparedResults"]

#: How a job ends: with what a `JobOutcome` holds, or with an error.
JobResult = dict[str, object] | Exception

#: The endings of jobs whose task is about to run, by job id.
PreparedResults = dict[str, JobResult]


class CeleryHandback:
    """What finishes a job on Celery's own path.

    Args:
        job_id: The job's id.
        tag: Under which its message is noted in Redis; None on another broker.
        is_over: Says whether the job was revoked, or has expired; if so Celery has ended it.
        run: Has Celery run the job's task.
        prepared: Where the task's body looks for its ending.
    """

    def __init__(
        self,
        job_id: str,
        *,
        tag: str | None,
        is_over: Callable[[], bool],
        run: Callable[[], object],
        prepared: PreparedResults,
    ) -> None:
        self._job_id = job_id
        self._run = run
        self._prepared = prepared
        self.tag = tag
        self.is_over = is_over

    def resume(self, ending: JobResult) -> None:
        """Let Celery finish the job."""
        self._prepared[self._job_id] = ending
        try:
            self._run()
        finally:
            self._prepared.pop(self._job_id, None)
