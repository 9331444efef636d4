"""Storing outcomes: standard Celery result documents, many at once, the first one stays.

A job that is delivered twice never changes an answer that somebody may have read. So a document
is written by a script that looks first: it replaces what says PENDING or STARTED, and nothing
that is final. Where messages lie in the same Redis, the step that stores also acknowledges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from sentq.wire.lua import load_script
from sentq_worker.broker.dead_letters import DeadLetterTarget
from sentq_worker.broker.qos import AckHandles

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ResultStore", "failed", "now_iso", "started", "succeeded"]

_STORE: Final = load_script("sentq_worker.broker", "store_results")
_STORE_AND_DEAD_LETTER: Final = load_script("sentq_worker.broker", "store_result_and_dead_letter")


class ResultStore:
    """Writes the documents of many jobs in one step.

    Args:
        app: Whose results they are.
        backend: Writes on its connections, instead of on the app's.

    Raises, from each method:
        redis.RedisError: Nothing, or all, was done. Doing it again is harmless.
    """

    def __init__(self, app: Celery, backend: Any = None) -> None:
        self._app = app
        self._own_backend = backend

    @property
    def _backend(self) -> Any:
        return self._own_backend or self._app.backend

    @property
    def connection_options(self) -> dict[str, Any]:
        """Where the documents are."""
        options: dict[str, Any] = self._backend.connparams
        return options

    def begin(self, documents: Mapping[str, bytes]) -> None:
        """Say that these jobs are being scored."""
        self._write(documents, publish=False)

    def finish(self, documents: Mapping[str, bytes], ack_handles: AckHandles | None = None) -> None:
        """Store how these jobs ended, tell whoever waits, and acknowledge, in the same step,
        the messages with these receipts. They must lie in the Redis of the documents."""
        self._write(documents, publish=True, ack_handles=ack_handles)

    def finish_and_dead_letter(
        self,
        job_id: str,
        document: bytes,
        dead_letter_target: DeadLetterTarget,
        tag: str,
        fields: Sequence[bytes],
    ) -> bool:
        """Make a message a dead letter and store, in the same step, how its job ended; returns
        whether the message was still to be buried. It must lie in the Redis of the documents."""
        backend = self._backend
        keys = [*dead_letter_target.keys, backend.get_key_for_task(job_id)]
        arguments = [document, int(backend.expires), *dead_letter_target.arguments(tag, fields)]
        return bool(_STORE_AND_DEAD_LETTER.run(backend.client, keys, arguments))

    def _write(
        self,
        documents: Mapping[str, bytes],
        *,
        publish: bool,
        ack_handles: AckHandles | None = None,
    ) -> None:
        tags = ack_handles.tags if ack_handles else ()
        if not documents and not tags:
            return
        backend = self._backend
        ids = [job_id.encode() for job_id in documents]
        keys: list[bytes | str] = []
        if ids:
            # The same for all, and not for free: ask once.
            prefix = backend.get_key_for_task(ids[0]).removesuffix(ids[0])
            keys = [prefix + job_id for job_id in ids]
        if ack_handles and tags:
            keys += [ack_handles.unacked_key, ack_handles.index_key]
        arguments = [len(ids), int(backend.expires), int(publish), *documents.values(), *tags]
        _STORE.run(backend.client, keys, arguments)


def now_iso() -> str:
    """Now, as Celery writes it into a document."""
    return datetime.now(UTC).isoformat()


def started(job_id: str, hostname: str) -> bytes:
    """The document of a job that is being scored, as Celery's `task_track_started` writes it."""
    return _document(job_id, "STARTED", {"hostname": hostname}, None)


def succeeded(job_id: str, outcome: Mapping[str, Any], *, at: str | None = None) -> bytes:
    """The document of a job that ended in outcomes, at a time that `now_iso` told."""
    return _document(job_id, "SUCCESS", outcome, at or now_iso())


def failed(job_id: str, error: Exception, *, status: str = "FAILURE") -> bytes:
    """The document of a job that failed as a whole, or was revoked (`status="REVOKED"`): the
    error's class and message, no pickle and no traceback."""
    kind = type(error)
    result = {
        "exc_type": kind.__qualname__,
        "exc_message": [str(error)],
        "exc_module": kind.__module__,
    }
    return _document(job_id, status, result, now_iso())


def _document(job_id: str, status: str, result: Mapping[str, Any], done: str | None) -> bytes:
    return orjson.dumps(
        {
            "status": status,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": done,
            "task_id": job_id,
        }
    )
