"""Storing results: standard Celery result documents, many at once, the first one stays.

A job that is delivered twice never changes a result that a client may have read. So a script
writes the document: it replaces one that is PENDING or STARTED, and never a final one. If messages
are in the same Redis, the step that stores also acknowledges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import redis
from redis.exceptions import OutOfMemoryError

from sentq.connection.app import document_keys
from sentq.wire.batches import BatchPlace
from sentq.wire.documents import celery_document, failure_fields
from sentq.wire.lua import load_script
from sentq_worker.broker.at_maxmemory.clients import may_exceed_maxmemory
from sentq_worker.broker.at_maxmemory.margin import MemoryMargin
from sentq_worker.broker.batches.places import batch_keys, counted
from sentq_worker.broker.callbacks import NO_CALLBACKS, CallbackMessage, JobCallbacks
from sentq_worker.broker.dead_letters import DeadLetterTarget
from sentq_worker.broker.qos import UnackedTags

if TYPE_CHECKING:
    from celery import Celery
    from celery.backends.redis import RedisBackend

__all__ = ["ResultStore", "failed", "now_iso", "started", "succeeded"]

_STORE: Final = load_script("sentq_worker.broker", "store_results")
_STORE_AND_DEAD_LETTER: Final = load_script("sentq_worker.broker", "store_result_and_dead_letter")

logger = logging.getLogger(__name__)

#: How the script stores documents.
_SILENTLY: Final = "0"
_NOTIFYING: Final = "1"
_BEYOND_MAXMEMORY: Final = "2"

_NO_PLACES: Final[Mapping[str, BatchPlace]] = {}
_NO_MESSAGES: Final[Mapping[str, CallbackMessage]] = {}

_NO_MARGIN: Final = MemoryMargin(0)

#: An id that no job has.
_NO_JOB: Final = "none"


class ResultStore:
    """Writes the documents of many jobs in one step.

    Args:
        app: The app whose results they are.
        backend: Writes on its own connections; None uses those of the app.
        margin: How far results may exceed Redis' `maxmemory`. Those that need no more memory than
            the messages of their jobs may in any case.
        on_callbacks: Called, with the connection, when batches are complete and have callbacks that
            are to be published. It raises nothing.
        job_callbacks: Makes the messages of the callbacks of jobs.

    Raises, from each method:
        redis.RedisError: Nothing, or all, was done. Doing it again is harmless.
    """

    def __init__(
        self,
        app: Celery,
        backend: RedisBackend | None = None,
        *,
        margin: MemoryMargin = _NO_MARGIN,
        on_callbacks: Callable[[redis.Redis], object] = lambda _: None,
        job_callbacks: JobCallbacks = NO_CALLBACKS,
    ) -> None:
        self._app = app
        self._own_backend = backend
        self._margin = margin
        self._on_callbacks = on_callbacks
        #: Makes the messages of the callbacks of jobs.
        self.job_callbacks = job_callbacks

    @property
    def _backend(self) -> RedisBackend:
        return self._own_backend or self._app.backend

    @property
    def connection_options(self) -> dict[str, object]:
        """The address of the Redis of the documents, and how to connect."""
        options: dict[str, object] = self._backend.connparams
        return options

    def mark_started(self, documents: Mapping[str, bytes]) -> None:
        """Store that these jobs are being scored, by job id. Waiting clients are not notified."""
        self._write(documents, _SILENTLY)

    def store(
        self,
        documents: Mapping[str, bytes],
        unacked: UnackedTags | None = None,
        places: Mapping[str, BatchPlace] = _NO_PLACES,
        callbacks: Mapping[str, CallbackMessage] = _NO_MESSAGES,
    ) -> None:
        """Store the results of jobs, by job id, and notify waiting clients.

        Args:
            documents: The results.
            unacked: Messages that are acknowledged in the same step. They must be in the Redis of
                the documents.
            places: The places of jobs that belong to batches, by job id. They are counted in the
                same step.
            callbacks: The callbacks of jobs, by job id. Those of jobs whose results are stored by
                this step, and not by an earlier one, are published in it.
        """
        try:
            self._write(documents, _NOTIFYING, unacked, places, callbacks)
        except OutOfMemoryError:
            if not self._margin.has_room(self._backend.client):
                raise
            self._write(documents, _BEYOND_MAXMEMORY, unacked, places, callbacks)

    def store_of_celery(
        self,
        job_id: str,
        document: bytes,
        place: BatchPlace | None,
        callback: CallbackMessage | None,
    ) -> None:
        """Store the result of a job that Celery finishes; count the job in its batch, and publish
        its callback."""
        mode = _BEYOND_MAXMEMORY if may_exceed_maxmemory() else _NOTIFYING
        self._write(
            {job_id: document},
            mode,
            places={job_id: place} if place else _NO_PLACES,
            callbacks={job_id: callback} if callback else _NO_MESSAGES,
        )

    def may_write(self) -> bool:
        """Return whether Redis has memory, or room within the margin, for what Celery writes."""
        client = self._backend.client
        return self._margin.may_write(client, self._backend.get_key_for_task(_NO_JOB))

    def store_and_dead_letter(
        self,
        job_id: str,
        document: bytes,
        target: DeadLetterTarget,
        tag: str,
        fields: Sequence[bytes],
        *,
        place: BatchPlace | None = None,
        callback: CallbackMessage | None = None,
    ) -> bool:
        """Make a message a dead letter, store, in the same step, the result of its job, publish its
        callback, and count the job in its batch, if it has these; return whether the message was
        still recorded. It must be in the Redis of the documents."""
        backend = self._backend
        keys = [*target.keys, backend.get_key_for_task(job_id)]
        if place is not None:
            keys += batch_keys(self._app, [place.batch_id])
        arguments = [
            *(document, int(backend.expires), *target.arguments(tag, ())),
            *("" if place is None else place.place, *(callback or ("", "")), *fields),
        ]
        reply = _STORE_AND_DEAD_LETTER.run(backend.client, keys, arguments)
        if isinstance(reply, list):
            self._on_reply(backend.client, *reply)
        return bool(reply)

    def _write(
        self,
        documents: Mapping[str, bytes],
        mode: str,
        unacked: UnackedTags | None = None,
        places: Mapping[str, BatchPlace] = _NO_PLACES,
        callbacks: Mapping[str, CallbackMessage] = _NO_MESSAGES,
    ) -> None:
        tags = unacked.tags if unacked else ()
        if not documents and not tags:
            return
        backend = self._backend
        keys: list[bytes | str] = [*document_keys(backend, documents)]
        if unacked and tags:
            keys += [unacked.unacked_key, unacked.index_key]
        arguments = [
            *(len(documents), int(backend.expires), mode, len(tags)),
            *(*documents.values(), *tags),
        ]
        if places or callbacks:
            in_batches = counted(self._app, documents, places)
            keys += in_batches.keys
            queues = _by_queue(documents, callbacks)
            arguments += [len(queues), in_batches.batches]
            for queue_list, published in queues.items():
                arguments += [queue_list, len(published) // 2, *published]
            arguments += in_batches.arguments
        reply = _STORE.run(backend.client, keys, arguments)
        if isinstance(reply, list):
            self._on_reply(backend.client, *reply)

    def _on_reply(self, client: redis.Redis, has_callbacks: int, not_taken: int) -> None:
        """Do what a script leaves to its caller."""
        if has_callbacks:
            self._on_callbacks(client)
        if not_taken:
            logger.error(
                "the callbacks of %d jobs were not published: their queue is not a list, or this "
                "worker may not write there",
                not_taken,
            )


def _by_queue(
    job_ids: Iterable[str], callbacks: Mapping[str, CallbackMessage]
) -> dict[str, list[int | bytes]]:
    """Return the numbers of the jobs with callbacks, and the messages of these, in turn, by the
    lists of their queues."""
    queues: dict[str, list[int | bytes]] = {}
    if callbacks:
        for number, job_id in enumerate(job_ids, 1):
            if (callback := callbacks.get(job_id)) is not None:
                queues.setdefault(callback.queue_list, []).extend((number, callback.message))
    return queues


def now_iso() -> str:
    """Return the time, as Celery writes it into a document."""
    return datetime.now(UTC).isoformat()


def started(job_id: str, hostname: str) -> bytes:
    """Return the document of a job that is being scored, as `task_track_started` writes it."""
    return celery_document(job_id, "STARTED", {"hostname": hostname}, done_at=None)


def succeeded(job_id: str, outcome: Mapping[str, object], *, at: str | None = None) -> bytes:
    """Return the document of a job with its outcomes.

    Args:
        job_id: The job's id.
        outcome: The fields of a `JobOutcome`.
        at: A time that `now_iso` returned; None stands for now.
    """
    return celery_document(job_id, "SUCCESS", outcome, done_at=at or now_iso())


def failed(job_id: str, error: Exception, *, status: str = "FAILURE") -> bytes:
    """Return the document of a job that failed as a whole, or was revoked (`status="REVOKED"`).

    It holds the error's class and message, no pickle and no traceback.
    """
    return celery_document(job_id, status, failure_fields(error), done_at=now_iso())
