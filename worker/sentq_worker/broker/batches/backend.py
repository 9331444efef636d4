"""What Celery stores of jobs that belong to batches and that it finishes itself, such as jobs with
a rate limit or an eta. They are counted in the step that stores how they ended."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend

from sentq.contract import BATCH_HEADER
from sentq.wire.batches import BatchPlace, place_in
from sentq_worker.broker.results import ResultStore

__all__ = ["BatchCountingBackend"]


class BatchCountingBackend(RedisBackend):
    """Stores results in Redis, and counts the jobs that belong to batches.

    The first final result of such a job stays.
    """

    def _store_result(
        self,
        task_id: str,
        result: object,
        state: str,
        traceback: object = None,
        request: Any = None,
        **kwargs: object,
    ) -> object:
        place = _place_of(request) if state in states.READY_STATES else None
        if place is None:
            return super()._store_result(task_id, result, state, traceback, request, **kwargs)
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        document = self.encode({**meta, "task_id": task_id}).encode()
        self.ensure(ResultStore(self.app, self).store_of_celery, (task_id, document, place))
        return result


def _place_of(request: Any) -> BatchPlace | None:
    """Return the place of the job of a request in a batch; Celery has made headers attributes."""
    value = getattr(request, BATCH_HEADER, None)
    return None if value is None else place_in({BATCH_HEADER: value})
