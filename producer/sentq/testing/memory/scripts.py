"""The scripts of clients, for an in-memory Redis: each does what `wire/scripts/<name>.lua` does.

The header of the Lua file names KEYS and ARGV, and says what is returned. A test runs both with the
same arguments, here and on a real Redis, and compares replies and keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from redis.exceptions import ResponseError

from sentq.testing.memory.batch_scripts import BATCH_SCRIPTS, count_ends, place_in_batch
from sentq.testing.memory.commands import to_bytes
from sentq.testing.memory.database import MemoryDatabase
from sentq.testing.memory.documents import may
from sentq.testing.memory.queues import exceeded_limits
from sentq.wire.functions import FUNCTIONS
from sentq.wire.states import Transition
from sentq.wire.steps import ScriptCall

__all__ = ["SCRIPTS", "adds_jobs", "run_script"]

_Arguments: TypeAlias = Sequence[bytes]
#: When a job is due, in its document; and how far that may be away, in seconds.
_DUE_MS: Final = re.compile(rb'"due_ms": *([0-9]+)')
_LONGEST_UNTIL_DUE_S: Final = 366 * 86400

#: How many dead letters a script reads at a time.
_ENTRIES_PER_STEP: Final = 20

_Script: TypeAlias = Callable[[MemoryDatabase, _Arguments, _Arguments], Any]


def run_script(database: MemoryDatabase, call: ScriptCall) -> Any:
    """Run a script, and return its reply.

    Raises:
        redis.ResponseError: The script is unknown here.
    """
    run = _BY_DIGEST.get(call.script.digest)
    if run is None:
        raise ResponseError("the test kit of sentq does not have this script")
    return run(database, list(map(to_bytes, call.keys)), list(map(to_bytes, call.arguments)))


def adds_jobs(call: ScriptCall) -> bool:
    """Return whether a script puts new jobs into a queue."""
    return call.script.digest in _ADDING_DIGESTS


# --- Sending ---------------------------------------------------------------------------------


def _push_jobs(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> None:
    ttl_s, document, *messages = arguments
    database.set(keys[1], document, ex=int(ttl_s), nx=True)
    database.lpush(keys[0], *messages)


def _push_jobs_with_conditions(
    database: MemoryDatabase, keys: _Arguments, arguments: _Arguments
) -> list[Any]:
    ttl_s, document = arguments[:2]
    max_jobs, max_bytes, other_lists, keyed = map(int, arguments[2:6])
    ids, digests = arguments[6 : 6 + keyed], arguments[6 + keyed : 6 + 2 * keyed]
    messages = arguments[6 + 2 * keyed :]
    key_names = keys[2 + other_lists :]
    added: list[bytes] = []
    records: dict[bytes, bytes] = {}
    reply: list[Any] = [1]
    for place, message in enumerate(messages):
        known = None
        if keyed:
            name = key_names[place]
            known = records.get(name) or database.get(name)
            if known is not None and _is_reserved(known):
                return [-2]
            if known is not None and not _has_same_texts(known, digests[place]):
                return [-1, place]
            if known is None:
                records[name] = _key_record(ids[place], digests[place])
            reply.append(ids[place] if known is None else _recorded_id(known))
        if known is None:
            added.append(message)
    if not added:
        return reply
    lists = [keys[0], *keys[2 : 2 + other_lists]]
    exceeded = exceeded_limits(database, lists, max_jobs, max_bytes, added)
    if exceeded:
        return exceeded
    database.set(keys[1], document, ex=int(ttl_s), nx=True)
    for name, record in records.items():
        database.set(name, record, ex=int(ttl_s))
    database.lpush(keys[0], *added)
    return reply


# --- Idempotency keys ------------------------------------------------------------------------


def _reserve_key(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> list[bytes]:
    (key,), (job_id, digests, lasts_s) = keys, arguments
    known, reservation = database.get(key), b"?" + _key_record(job_id, digests)
    if known is None or known == reservation:
        database.set(key, reservation, ex=int(lasts_s))
        return [b"reserved"]
    if _is_reserved(known):
        return [b"sending"]
    if not _has_same_texts(known, digests):
        return [b"conflict"]
    return [b"sent", _recorded_id(known)]


def _release_key(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> None:
    (key,), (job_id, digests) = keys, arguments
    if database.get(key) == b"?" + _key_record(job_id, digests):
        database.delete(key)


def _key_record(job_id: bytes, digests: bytes) -> bytes:
    return job_id + b" " + digests.partition(b"|")[0]


def _is_reserved(record: bytes) -> bool:
    return record.startswith(b"?")


def _recorded_id(record: bytes) -> bytes:
    return record.partition(b" ")[0]


def _has_same_texts(record: bytes, digests: bytes) -> bool:
    recorded = record.partition(b" ")[2]
    return not recorded or any(digest in digests for digest in recorded.split())


# --- Results and dead letters ----------------------------------------------------------------


def _cancel_job(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> list[Any]:
    (own, sent_key, cancelled, batches), (document, ttl_s, job_id, prefix) = keys, arguments
    sent = database.get(sent_key)
    before = database.get(own) or sent
    if not may(Transition.CANCEL, before):
        return [before, 0]
    now_s, _ = database.time()
    due = _DUE_MS.search(before or b"")
    until_due_s = math.ceil(int(due[1]) / 1000 - now_s) if due else 0
    longer_s = until_due_s if 0 <= until_due_s <= _LONGEST_UNTIL_DUE_S else 0
    database.set(own, document, ex=int(ttl_s) + longer_s)
    database.publish(own, document)
    database.zremrangebyscore(cancelled, now_s - int(ttl_s))
    database.zadd(cancelled, {job_id: now_s})
    database.expire(cancelled, int(ttl_s))
    found = place_in_batch(database, sent, job_id.decode(), prefix)
    if found is not None:
        batch, place = found
        count_ends(database, batch, batches, int(ttl_s), [(place, document)])
    return [before, 1]


def _requeue(database: MemoryDatabase, key: bytes, document: bytes, ttl_s: bytes) -> bool:
    is_written = may(Transition.REQUEUE, database.get(key))
    if is_written:
        database.set(key, document, ex=int(ttl_s))
    return is_written


def _requeue_one_result(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> int:
    return int(_requeue(database, *keys, *arguments))


def _retry_dead_letter(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> bytes:
    (stream, queue, *documents), (entry, message, document, ttl_s) = keys, arguments
    if not database.streams.between(stream, entry, entry):
        return b"not_found"
    result = b"ended"
    if not documents or _requeue(database, documents[0], document, ttl_s):
        database.lpush(queue, message)
        result = b"retried"
    database.streams.delete(stream, entry)
    return result


def _read_dead_letter_codes(
    database: MemoryDatabase, keys: _Arguments, arguments: _Arguments
) -> list[bytes]:
    after, limit, limit_bytes = arguments[0], int(arguments[1]), int(arguments[2])
    found: list[bytes] = []
    size_bytes = 0
    while len(found) < 2 * limit and size_bytes < limit_bytes:
        entries = database.streams.between(keys[0], b"(" + after, b"+", _ENTRIES_PER_STEP)
        if not entries:
            break
        for entry_id, fields in entries:
            size_bytes += sum(map(len, fields.values()))
            found += (entry_id, fields.get(b"code", b""))
            after = entry_id
    return found


def _read_reports(
    database: MemoryDatabase, keys: _Arguments, arguments: _Arguments
) -> list[bytes | None]:
    return [database.get(arguments[0] + worker) for worker in database.zrange(keys[0])]


#: By the names of the files.
SCRIPTS: Final[dict[str, _Script]] = {
    **BATCH_SCRIPTS,
    "cancel_job": _cancel_job,
    "push_jobs": _push_jobs,
    "push_jobs_with_conditions": _push_jobs_with_conditions,
    "read_dead_letter_codes": _read_dead_letter_codes,
    "read_reports": _read_reports,
    "release_key": _release_key,
    "requeue_one_result": _requeue_one_result,
    "reserve_key": _reserve_key,
    "retry_dead_letter": _retry_dead_letter,
}

_ADDING_DIGESTS: Final = {
    FUNCTIONS[name].digest for name in ("push_jobs", "push_jobs_with_conditions", "push_batch_jobs")
}

_BY_DIGEST: Final = {FUNCTIONS[name].digest: run for name, run in SCRIPTS.items()}
