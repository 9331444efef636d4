"""The worker of the test kit: takes messages, scores them, and stores results as a worker does."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from sentq import errors
from sentq.connection.broker import queue_lists
from sentq.contract import Detail, ErrorCode, Outcome, TextError, check_text, check_words
from sentq.errors import InvalidInput, LinkRefused, ScoringFailed, WorkerError
from sentq.settings import Settings
from sentq.testing.memory.batch_scripts import count_ends
from sentq.testing.memory.database import MemoryDatabase
from sentq.testing.memory.documents import is_final, may
from sentq.testing.messages import PublishedTask, TaskMessage
from sentq.testing.parts import with_parts
from sentq.testing.scores import LABELS, Scores, outcome_by
from sentq.version import VERSION
from sentq.wire.batches import BATCH_KEY_PREFIX, COMPLETE_BATCHES_KEY, batch_key
from sentq.wire.clock import CLOCK
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetterCode, dead_letter_fields
from sentq.wire.documents import celery_document, failure_fields
from sentq.wire.ids import sent_at_ms
from sentq.wire.reports import (
    MIN_REPORT_LIFETIME_S,
    REPORT_INDEX_KEY,
    WorkerReport,
    report_key,
)
from sentq.wire.scheduled import SCHEDULED_KEY
from sentq.wire.sealing import load_keyring
from sentq.wire.states import Transition

__all__ = ["WORKER_NAME", "FailureCode", "MemoryWorker", "failure_of"]

#: The name of the worker, and of what stands for its model.
WORKER_NAME: Final = "sentq.testing"

_DEADLINE_PASSED: Final = TextError(
    code=ErrorCode.DEADLINE_PASSED, message="the job's deadline passed before it was scored"
)

#: The errors whose job becomes a dead letter, too.
_DEAD_LETTER_CODES: Final = {
    "WorkerLost": DeadLetterCode.WORKER_LOST,
    "Undecryptable": DeadLetterCode.UNDECRYPTABLE,
    "LinkRefused": DeadLetterCode.LINK_REFUSED,
}

#: How often a worker was lost with a job before that becomes a dead letter.
_DELIVERIES_UNTIL_LOST: Final = 3

#: How a job fails: the code of an error of each text, or the error of the whole job.
FailureCode = ErrorCode | WorkerError | InvalidInput


def failure_of(code: object) -> FailureCode:
    """Return how a job fails with a code.

    Args:
        code: An `ErrorCode`, for all texts of the job; or the code of a `JobFailed`: the name of an
            error that workers store, or its class.

    Raises:
        ValueError: There is no such code; the message names all of them.
    """
    if isinstance(code, str) and code in {str(each) for each in ErrorCode}:
        return ErrorCode(code)
    name = code.__name__ if isinstance(code, type) else code
    if isinstance(name, str) and name in _WORKER_ERRORS:
        error: WorkerError | InvalidInput = _WORKER_ERRORS[name]("the test wants this error")
        return error
    raise ValueError(
        f"there is no code {code!r}. Of texts: {', '.join(ErrorCode)}. Of whole jobs: "
        + ", ".join(_WORKER_ERRORS)
    )


_WORKER_ERRORS: Final[Mapping[str, type[Any]]] = {
    name: getattr(errors, name)
    for name in (
        *("ScoringFailed", "WorkerLost", "Undecryptable", "ScheduleFull"),
        *("TooManyTokens", "NotEncrypted", "LinkRefused", "EtaTooFar"),
    )
}


class MemoryWorker:
    """Scores the jobs that wait in an in-memory Redis.

    Args:
        database: Where the queues and the results are.
        settings: The queues, limits and keys of a worker, and how long results are kept.
        scores: As for `sentq.testing.inline`.
    """

    def __init__(self, database: MemoryDatabase, settings: Settings, scores: Scores | None) -> None:
        self.scores = scores
        self.keyring = load_keyring(settings)
        #: How the next jobs fail, in this order.
        self.failures: deque[FailureCode] = deque()
        self.jobs_finished = 0
        #: The tasks that followed what has ended, the oldest first.
        self.published: list[PublishedTask] = []
        self._database = database
        self._settings = settings
        self._bulk_lists = {name.encode() for name in queue_lists(settings.bulk_queue)}
        self._started_at_s = CLOCK.unix_s()
        self._taken: deque[TaskMessage] = deque()
        #: The jobs that are not due, by id.
        self._scheduled: dict[str, TaskMessage] = {}
        self._is_working = False

    def take(self, most: float = float("inf")) -> int:
        """Take jobs that wait, as a worker does that begins to score them; return how many.

        Those of the bulk queue come last.
        """
        count = 0
        self._release_due()
        while count < most and (message := self._next_message()) is not None:
            if not message.is_job:
                self._dead_letter(message, DeadLetterCode.UNKNOWN_TASK, "its task is unknown")
            elif message.due_ms is not None and message.due_ms > CLOCK.unix_s() * 1000:
                self._schedule(message, message.due_ms)
            elif may(Transition.STORE, self._document_of(message.id)):
                self._store(message, _document(message.id, "STARTED", {"hostname": WORKER_NAME}))
                self._taken.append(message)
                count += 1
        return count

    def _schedule(self, message: TaskMessage, due_ms: float) -> None:
        """Let a job wait until it is due."""
        self._database.zadd(SCHEDULED_KEY.encode(), {message.id.encode(): due_ms})
        self._scheduled[message.id] = message

    def _release_due(self) -> None:
        """Put the scheduled jobs that are due to the ends of their queues."""
        key = SCHEDULED_KEY.encode()
        for job_id in self._database.zrange(key, most=CLOCK.unix_s() * 1000):
            self._database.zrem(key, job_id)
            message = self._scheduled.pop(job_id.decode())
            self._database.lpush(message.queue_key, message.raw)

    def finish(self, most: float = float("inf")) -> int:
        """Finish jobs that were taken, then take and finish those that wait; return how many.

        Raises:
            Exception: What a function of the test raised. Its job has failed.
        """
        if self._is_working:  # A function of the test sends jobs while it scores one.
            return 0
        self._is_working = True
        count = 0
        try:
            while count < most and (self._taken or self.take(1)):
                self._finish(self._taken.popleft())
                count += 1
            self._publish_callbacks()
        finally:
            self._is_working = False
        return count

    def report(self) -> WorkerReport:
        """Return the report of the worker."""
        return WorkerReport(
            worker=WORKER_NAME,
            at_s=CLOCK.unix_s(),
            started_at_s=self._started_at_s,
            queues=tuple(sorted({self._settings.queue, self._settings.bulk_queue})),
            jobs_finished=self.jobs_finished,
            in_flight_jobs=len(self._taken),
            model=WORKER_NAME,
            backend="testing",
            dtype="float32",
            version=VERSION,
            labels=LABELS,
        )

    def write_report(self) -> None:
        """Write the report to where clients read it."""
        report, lifetime_s = self.report(), MIN_REPORT_LIFETIME_S
        content = report.model_dump_json().encode()
        self._database.set(report_key(WORKER_NAME).encode(), content, ex=lifetime_s)
        kept_until_s = {WORKER_NAME.encode(): report.at_s + lifetime_s}
        self._database.zadd(REPORT_INDEX_KEY.encode(), kept_until_s)

    def _next_message(self) -> TaskMessage | None:
        """Take the message that is next; return None if none waits."""
        for key in sorted(self._database.list_keys(), key=self._rank):
            if (raw := self._database.rpop(key)) is not None:
                return TaskMessage.read(raw, key)
        return None

    def _rank(self, key: bytes) -> tuple[bool, bytes]:
        return key in self._bulk_lists, key

    def _finish(self, message: TaskMessage) -> None:
        self.jobs_finished += 1
        failure = self.failures.popleft() if self.failures else None
        try:
            texts = message.texts(self.keyring, self._settings.limits)
            model = message.asked.model or WORKER_NAME
            if isinstance(failure, Exception):
                self._fail(message, failure)
                return
            outcomes = self._outcomes(message, texts, failure)
        except (InvalidInput, WorkerError) as error:
            self._fail(message, error)
        except Exception as error:
            self._fail(message, ScoringFailed.from_error(error))
            raise
        else:
            self._store(message, self._succeeded(message, outcomes, model))

    def _outcomes(
        self, message: TaskMessage, texts: list[Any], failure: ErrorCode | None
    ) -> list[Outcome]:
        if message.deadline_ms is not None and message.deadline_ms <= CLOCK.unix_s() * 1000:
            return [_DEADLINE_PASSED] * len(texts)
        if failure is not None:
            return [TextError(code=failure, message="the test wants this error")] * len(texts)
        return [self._outcome(text, message.detail) for text in texts]

    def _outcome(self, text: Any, detail: Detail | None) -> Outcome:
        problem = check_text(text, self._settings.limits) or check_words(text)
        if problem is not None:
            return problem
        outcome = outcome_by(self.scores, text)
        return outcome if detail is None else with_parts(outcome, text, detail, self.scores)

    def _succeeded(self, message: TaskMessage, outcomes: list[Outcome], model: str) -> bytes:
        sent_ms = sent_at_ms(message.id)
        waited_ms: float | None = None
        if sent_ms is not None:
            waited_ms = max(0.0, CLOCK.unix_s() * 1000 - max(sent_ms, message.due_ms or 0))
        return _document(
            message.id,
            "SUCCESS",
            {
                "outcomes": [outcome.model_dump() for outcome in outcomes],
                "model": model,
                "revision": None,
                "backend": "testing",
                "dtype": "float32",
                "attempts": 1,
                "queued_ms": waited_ms,
                "inference_ms": 0.0,
            },
        )

    def _fail(self, message: TaskMessage, error: Exception) -> None:
        self._store(message, _document(message.id, "FAILURE", failure_fields(error)))
        code = _DEAD_LETTER_CODES.get(type(error).__qualname__)
        if code is not None:
            self._dead_letter(message, code, str(error))

    def _dead_letter(self, message: TaskMessage, code: DeadLetterCode, reason: str) -> None:
        fields = dead_letter_fields(
            code=code,
            reason=reason,
            message=message.raw,
            job_id=message.id,
            deliveries=_DELIVERIES_UNTIL_LOST if code is DeadLetterCode.WORKER_LOST else 1,
            worker=WORKER_NAME,
            queue=message.queue,
        )
        pairs = zip(fields[::2], fields[1::2], strict=True)
        self._database.streams.add(DEAD_LETTERS_KEY.encode(), dict(pairs))

    def _document_of(self, job_id: str) -> bytes | None:
        return self._database.get(_document_key(job_id))

    def _store(self, message: TaskMessage, document: bytes) -> None:
        """Store a document, unless the job has ended. If it ends the job, notify readers, and count
        it in its batch."""
        key, ttl_s = _document_key(message.id), self._settings.result_ttl_s
        if not may(Transition.STORE, self._database.get(key)):
            return
        self._database.set(key, document, ex=ttl_s)
        if not is_final(document):
            return
        self._database.publish(key, document)
        if message.callback is not None:
            self._publish_callback(message, message.callback, orjson.loads(document))
        if message.batch_place is not None:
            batch_id, place = message.batch_place
            batches = COMPLETE_BATCHES_KEY.encode()
            ends = [(place, document)]
            count_ends(self._database, batch_key(batch_id).encode(), batches, ttl_s, ends)

    def _publish_callback(
        self, message: TaskMessage, callback: str, document: Mapping[str, Any]
    ) -> None:
        """Publish the callback of a job that has ended with a document."""
        outcome, error = document["result"], dict[str, object]()
        if document["status"] == "FAILURE":
            error = {"code": outcome["exc_type"], "message": outcome["exc_message"][0]}
            outcome = None
            if error["code"] == LinkRefused.__name__:
                return
        first: object = message.id
        if orjson.loads(callback).get("argument") == "outcome":
            first = {"job_id": message.id, "outcome": outcome, "error": error or None}
        self.published.append(PublishedTask.from_signature(callback, first, message.id))

    def _publish_callbacks(self) -> None:
        """Publish the callbacks of batches that are complete, each once."""
        batches = COMPLETE_BATCHES_KEY.encode()
        for batch in self._database.zrange(batches):
            self._database.zrem(batches, batch)
            self._database.hset(batch, {b"callback_state": b"sent"})
            batch_id = batch.decode().removeprefix(BATCH_KEY_PREFIX)
            callback = self._database.hget(batch, b"callback") or b""
            self.published.append(PublishedTask.from_signature(callback, batch_id, batch_id))


def _document_key(job_id: str) -> bytes:
    return f"celery-task-meta-{job_id}".encode()


def _document(job_id: str, status: str, result: Mapping[str, object]) -> bytes:
    done_at = None
    if status != "STARTED":
        done_at = datetime.fromtimestamp(CLOCK.unix_s(), UTC).isoformat()
    return celery_document(job_id, status, result, done_at=done_at)
