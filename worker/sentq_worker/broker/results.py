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

from sentq_worker.broker.dead_letters import BURY, DeadLetterTarget
from sentq_worker.broker.qos import AckHandles

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ResultStore", "failed", "now_iso", "started", "succeeded"]

#: A function for scripts. It stores a document unless a final one is there; returns an error, if
#: Redis refuses it.
#: Every document, Celery's and ours, begins with its status; one that does not is compressed
#: or foreign, and stays. It is rare to find a final one: writing first and putting that back
#: takes one command for each of the others, and nobody can look in between.
_STORE: Final = """
local function store(key, document, ttl_s, is_published)
  local before = redis.pcall('SET', key, document, 'EX', ttl_s, 'GET')
  if type(before) == 'table' then
    -- Not a string, and not ours to replace; or refused, before anything was written.
    if not string.find(before.err, 'WRONGTYPE', 1, true) then return before end
  else
    local status = before and string.match(before, '^{"status": *"(%u+)"')
    if not before or status == 'PENDING' or status == 'RECEIVED' or status == 'STARTED'
        or status == 'RETRY' then
      if is_published then redis.call('PUBLISH', key, document) end
    else
      redis.call('SET', key, before, 'EX', ttl_s)
    end
  end
end
"""

#: KEYS: result keys, then `unacked` and its index where messages are acknowledged.
#: ARGV: how many results, TTL in seconds, whether to publish, a document a key, then tags.
_FINISH: Final = (
    _STORE
    + """
local results = tonumber(ARGV[1])
for i = 1, results do
  local refused = store(KEYS[i], ARGV[i + 3], ARGV[2], ARGV[3] == '1')
  if refused then return refused end
end
for first = results + 4, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  redis.call('HDEL', KEYS[results + 1], unpack(ARGV, first, last))
  redis.call('ZREM', KEYS[results + 2], unpack(ARGV, first, last))
end
return results
"""
)

#: KEYS: unacked, its index, the letters, the result's. ARGV: document, TTL of results in seconds,
#: tag, time-out, TTL of letters, then fields of the letter.
_FINISH_AND_BURY: Final = (
    _STORE
    + BURY
    + """
local fields = {unpack(ARGV, 6)}
if not bury(KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4], ARGV[5], fields) then return 0 end
store(KEYS[4], ARGV[1], ARGV[2], true)
return 1
"""
)


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
        script = backend.client.register_script(_FINISH_AND_BURY)
        keys = [*dead_letter_target.keys, backend.get_key_for_task(job_id)]
        arguments = [document, int(backend.expires), *dead_letter_target.arguments(tag, fields)]
        return bool(script(keys=keys, args=arguments))

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
        script = backend.client.register_script(_FINISH)
        script(
            keys=keys,
            args=[len(ids), int(backend.expires), int(publish), *documents.values(), *tags],
        )


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
