"""Storing outcomes: standard Celery result documents, many at once, the first one stays.

A job that is delivered twice never changes an answer that somebody may have read. So a document
is written by a script that looks first: it replaces what says PENDING or STARTED, and nothing
that is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["OutcomeStore", "failed", "started", "succeeded"]

#: KEYS: result keys. ARGV: TTL in seconds, whether to publish, then a document a key.
#: Every document, Celery's and ours, begins with its status; one that does not is compressed
#: or foreign, and stays.
_WRITE_UNLESS_FINAL: Final = """
local written = 0
for i, key in ipairs(KEYS) do
  local now = redis.call('GET', key)
  local status = now and string.match(now, '^{"status": *"(%u+)"')
  if not now or status == 'PENDING' or status == 'RECEIVED' or status == 'STARTED'
      or status == 'RETRY' then
    redis.call('SET', key, ARGV[i + 2], 'EX', ARGV[1])
    if ARGV[2] == '1' then redis.call('PUBLISH', key, ARGV[i + 2]) end
    written = written + 1
  end
end
return written
"""


class OutcomeStore:
    """Writes the documents of many jobs in one step.

    Raises, from each method:
        redis.RedisError: Nothing, or all, was written. Writing again is harmless.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def begin(self, documents: Mapping[str, bytes]) -> None:
        """Say that these jobs are being scored."""
        self._write(documents, publish=False)

    def finish(self, documents: Mapping[str, bytes]) -> None:
        """Store how these jobs ended, and tell whoever waits."""
        self._write(documents, publish=True)

    def _write(self, documents: Mapping[str, bytes], *, publish: bool) -> None:
        if not documents:
            return
        backend = self._app.backend
        script = backend.client.register_script(_WRITE_UNLESS_FINAL)
        ids = [job_id.encode() for job_id in documents]
        # The same for all, and not for free: ask once.
        prefix = backend.get_key_for_task(ids[0]).removesuffix(ids[0])
        script(
            keys=[prefix + job_id for job_id in ids],
            args=[int(backend.expires), int(publish), *documents.values()],
        )


def started(job_id: str, hostname: str) -> bytes:
    """The document of a job that is being scored, as Celery's `task_track_started` writes it."""
    return _document(job_id, "STARTED", {"hostname": hostname})


def succeeded(job_id: str, outcome: Mapping[str, Any]) -> bytes:
    """The document of a job that ended in outcomes."""
    return _document(job_id, "SUCCESS", outcome)


def failed(job_id: str, error: Exception) -> bytes:
    """The document of a job that failed as a whole: the error's class and message, no pickle
    and no traceback."""
    kind = type(error)
    result = {
        "exc_type": kind.__qualname__,
        "exc_message": [str(error)],
        "exc_module": kind.__module__,
    }
    return _document(job_id, "FAILURE", result)


def _document(job_id: str, status: str, result: Mapping[str, Any]) -> bytes:
    is_final = status in {"SUCCESS", "FAILURE"}
    return orjson.dumps(
        {
            "status": status,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": datetime.now(UTC).isoformat() if is_final else None,
            "task_id": job_id,
        }
    )
