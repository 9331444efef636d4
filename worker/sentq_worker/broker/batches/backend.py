"""What Celery stores of jobs that it finishes itself, such as jobs with a rate limit or an eta. The
step that stores how they ended counts those that belong to batches, and publishes callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery import states
from celery.backends.redis import RedisBackend

from sentq.contract import BATCH_HEADER, CALLBACK_HEADER, TASK_NAME
from sentq.wire.batches import BatchPlace, place_in
from sentq.wire.documents import failure_in
from sentq_worker.broker.callbacks import NO_CALLBACKS, CallbackMessage, JobCallbacks, JobEnd
from sentq_worker.broker.results import ResultStore

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["FollowedUpBackend", "publish_callbacks_with"]

_CALLBACKS_OF_APP: Final = "sentq_job_callbacks"


def publish_callbacks_with(app: Celery, callbacks: JobCallbacks) -> None:
    """Let the backends of an app, which Celery makes, publish the callbacks of jobs."""
    setattr(app, _CALLBACKS_OF_APP, callbacks)


class FollowedUpBackend(RedisBackend):
    """Stores results in Redis; counts the jobs that belong to batches, and publishes callbacks.

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
        place, callback = None, None
        if state in states.READY_STATES:
            place, callback = _place_of(request), self._callback_of(task_id, request, result, state)
        if place is None and callback is None:
            return super()._store_result(task_id, result, state, traceback, request, **kwargs)
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        document = self.encode({**meta, "task_id": task_id}).encode()
        store = ResultStore(self.app, self)
        self.ensure(store.store_of_celery, (task_id, document, place, callback))
        return result

    def _callback_of(
        self, task_id: str, request: Any, result: object, state: str
    ) -> CallbackMessage | None:
        header = getattr(request, CALLBACK_HEADER, None)
        if header is None or request.task != TASK_NAME:
            return None
        outcome = result if state == states.SUCCESS and isinstance(result, dict) else None
        error = failure_in(result) if state != states.SUCCESS else None
        callbacks: JobCallbacks = getattr(self.app, _CALLBACKS_OF_APP, NO_CALLBACKS)
        return callbacks.message(header, JobEnd(task_id, outcome, error))


def _place_of(request: Any) -> BatchPlace | None:
    """Return the place of the job of a request in a batch; Celery has made headers attributes."""
    value = getattr(request, BATCH_HEADER, None)
    return None if value is None else place_in({BATCH_HEADER: value})
