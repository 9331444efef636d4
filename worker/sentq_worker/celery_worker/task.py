"""The task `sentq.score`, as Celery runs it.

Its body runs only for jobs that Celery finishes, whose result is prepared, and on a transport
without an event loop, where it has the job scored itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from celery import Task
from celery.worker import state

from sentq.contract import DEADLINE_HEADER, DETAIL_HEADER, LOCAL_ONLY_HEADER, TASK_NAME
from sentq.errors import InvalidInput, ScheduleFull, ScoringFailed, Undecryptable
from sentq_worker.celery_worker.runtime import WorkerRuntime
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.jobs.in_flight import (
    DEADLINE_PASSED,
    DUE_HEADER,
    DeliveredJob,
    check_options,
    has_deadline_passed,
)
from sentq_worker.jobs.outcomes import JobResult
from sentq_worker.jobs.retry import EngineBackoff

__all__ = ["ScoreTask"]

#: What a job's headers say of how it shall be scored.
_HEADERS: Final = (DEADLINE_HEADER, DETAIL_HEADER, DUE_HEADER, LOCAL_ONLY_HEADER)


class ScoreTask(Task):
    """`sentq.score`.

    Args:
        runtime: The parts of the worker.
    """

    name = TASK_NAME
    typing = False
    #: The error of a sender is for the sender to read. Celery logs no traceback of it.
    throws = (InvalidInput, Undecryptable, ScheduleFull)
    Strategy = "sentq_worker.celery_worker.strategy:batching"
    Request = "sentq_worker.celery_worker.request:ScoreRequest"

    def __init__(self, runtime: WorkerRuntime) -> None:
        self.runtime = runtime
        self._backoff = EngineBackoff()

    def run(self, *args: object, **kwargs: object) -> Mapping[str, object]:
        """Return the outcomes of a job that was scored; score it here, alone, if it was not.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
            Undecryptable: Its texts are encrypted, and cannot be decrypted here.
            ScoringFailed: The worker failed.
        """
        result = self.runtime.prepared.pop(self.request.id, None) or self._score(args, kwargs)
        if isinstance(result, Exception):
            raise result
        return self.runtime.encryption.seal_result(self.request.id, result)

    def _score(self, args: Sequence[object], kwargs: Mapping[str, object]) -> JobResult:
        runtime, request = self.runtime, self.request
        texts, asked = runtime.encryption.read(request.id, args, kwargs)
        headers = {name: request.get(name) for name in _HEADERS}
        check_options(headers, len(texts))
        job = DeliveredJob(request.id, texts, headers, request.delivery_info or {})
        job.asked = asked
        attempts = 1 + int(request.retries or 0)
        while not has_deadline_passed(headers, runtime.dispatcher.clock.now_ms()):
            try:
                result = self._attempt(job, attempts)
            except EngineUnavailable as error:
                attempts += 1
                self._backoff.begin(error)
                self._backoff.sleep(state.maybe_shutdown)
            except Exception as error:  # noqa: BLE001 - its message might quote a text
                return ScoringFailed.from_error(error)
            else:
                self._backoff.end()
                return result
        scored = runtime.executor.without_engine([[DEADLINE_PASSED] * len(texts)])
        return next(scored.outcomes([(job.sent_at_ms, attempts)]))

    def _attempt(self, job: DeliveredJob, attempts: int) -> JobResult:
        scored = self.runtime.executor.submit([job]).result()
        outcome = next(scored.outcomes([(job.sent_at_ms, attempts)]))
        if isinstance(outcome, EngineUnavailable):
            raise outcome
        return outcome
