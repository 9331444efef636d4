"""The scripts of batches, for an in-memory Redis: each does what `wire/scripts/<name>.lua` does."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from sentq.testing.memory.database import MemoryDatabase
from sentq.testing.memory.documents import end_state, is_final, may
from sentq.testing.memory.queues import exceeded_limits
from sentq.wire.batches import ID_BYTES, MAX_JOBS_PER_BATCH, packed_ids
from sentq.wire.states import Transition

__all__ = ["BATCH_SCRIPTS", "count_ends", "place_in_batch"]

_Arguments: TypeAlias = Sequence[bytes]

#: The fields of a batch that count how its jobs ended, by `end_state`.
_COUNTS: Final = (b"done", b"failed", b"cancelled")

_PARTS: Final = (b"", b":jobs", b":states", b":ends")


def count_ends(
    database: MemoryDatabase,
    batch: bytes,
    batches: bytes,
    ttl_s: int,
    ends: Iterable[tuple[int, bytes | None]],
) -> None:
    """Count jobs that have ended, each by its place and its document, as `lib/batch_counts.lua`
    does.

    Args:
        database: The keys.
        batch: The key of the batch.
        batches: The key of the batches that are complete and whose callback is not published.
        ttl_s: How long the batch is kept after this, in seconds.
        ends: The jobs.
    """
    total = _jobs_of(database, batch)
    if total is None:
        return
    first_ends = b""
    for place, document in ends:
        if 0 <= place < total:
            state = end_state(document)
            before = database.swap_pair(batch + b":states", place, state)
            if before == 0:
                first_ends += struct.pack(">I", place)
            elif before != state:
                database.hincrby(batch, _COUNTS[before - 1], -1)
            if before != state:
                database.hincrby(batch, _COUNTS[state - 1], 1)
    if first_ends:
        database.append(batch + b":ends", first_ends)
    _keep(database, batch, ttl_s)
    _complete(database, batch, batches, ttl_s)
    database.publish(batch, b"%d" % (len(first_ends) // 4))


def place_in_batch(
    database: MemoryDatabase, sent: bytes | None, job_id: str, prefix: bytes
) -> tuple[bytes, int] | None:
    """Return the key of the batch of a job, and its place there, as `lib/place_in_batch.lua` does;
    None if it is in no batch.

    Args:
        database: The keys.
        sent: The document that made the job and those sent with it known.
        job_id: The id of the job.
        prefix: What the keys of batches begin with.
    """
    _, marker, named = (sent or b"").partition(b'"sentq_batch": "')
    if not marker:
        return None
    batch_id, _, first = named.partition(b'"')[0].partition(b":")
    batch = prefix + batch_id
    ids = database.getrange(
        batch + b":jobs", int(first) * ID_BYTES, (int(first) + 512) * ID_BYTES - 1
    )
    wanted = packed_ids([job_id])
    for at in range(0, len(ids), ID_BYTES):
        if ids[at : at + ID_BYTES] == wanted:
            return batch, int(first) + at // ID_BYTES
    return None


def _jobs_of(database: MemoryDatabase, batch: bytes) -> int | None:
    total = database.hget(batch, b"total")
    return None if total is None else min(int(total), MAX_JOBS_PER_BATCH)


def _keep(database: MemoryDatabase, batch: bytes, ttl_s: int) -> None:
    for part in _PARTS:
        database.expire(batch + part, ttl_s)


def _complete(database: MemoryDatabase, batch: bytes, batches: bytes, ttl_s: int) -> None:
    """Record that a batch is complete, if it is closed and all of its jobs have ended."""
    if database.hget(batch, b"closed") is None or database.hget(batch, b"complete_ms") is not None:
        return
    ended = sum(int(database.hget(batch, count) or 0) for count in _COUNTS)
    if ended < int(database.hget(batch, b"total") or 0):
        return
    database.hset(batch, {b"complete_ms": b"%d" % _now_ms(database)})
    if database.hget(batch, b"callback") is not None:
        database.hset(batch, {b"callback_state": b"waiting"})
        database.zadd(batches, {batch: database.time()[0]})
        database.expire(batches, ttl_s)


def _now_ms(database: MemoryDatabase) -> int:
    seconds, microseconds = database.time()
    return seconds * 1000 + microseconds // 1000


def _open_batch(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> None:
    (batch,), (ttl_s, callback) = keys, arguments
    if database.exists(batch):
        return
    database.hset(batch, {b"total": b"0", b"opened_ms": b"%d" % _now_ms(database)})
    if callback:
        database.hset(batch, {b"callback": callback})
    database.expire(batch, int(ttl_s))


def _close_batch(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> int:
    (batch, batches), (ttl_s,) = keys, arguments
    if _jobs_of(database, batch) is None:
        return 0
    _keep(database, batch, int(ttl_s))
    database.hset(batch, {b"closed": b"1"})
    _complete(database, batch, batches, int(ttl_s))
    database.publish(batch, b"0")
    return 1


def _push_batch_jobs(
    database: MemoryDatabase, keys: _Arguments, arguments: _Arguments
) -> list[Any]:
    (queue, sent, batch, batches, *other_lists), (ttl_s, document) = keys, arguments[:2]
    max_jobs, max_bytes, place = map(int, arguments[2:5])
    ids, closes, *messages = arguments[5:]
    total, added = _jobs_of(database, batch), len(ids) // ID_BYTES
    if total is None:
        return [-3]
    if total != place:
        first, last = place * ID_BYTES, (place + added) * ID_BYTES - 1
        known = database.getrange(batch + b":jobs", first, last)
        return [1] if known == ids else [-1, total]
    if database.hget(batch, b"closed") is not None:
        return [-2]
    if place + added > MAX_JOBS_PER_BATCH:
        return [-4, MAX_JOBS_PER_BATCH]
    if other_lists:
        exceeded = exceeded_limits(database, [queue, *other_lists], max_jobs, max_bytes, messages)
        if exceeded:
            return exceeded
    database.set(sent, document, ex=int(ttl_s), nx=True)
    database.append(batch + b":jobs", ids)
    database.hset(batch, {b"total": b"%d" % (place + added)})
    if messages:
        database.lpush(queue, *messages)
    _keep(database, batch, int(ttl_s))
    if closes == b"1":
        database.hset(batch, {b"closed": b"1"})
        _complete(database, batch, batches, int(ttl_s))
    database.publish(batch, b"0")
    return [1]


def _cancel_batch_jobs(database: MemoryDatabase, keys: _Arguments, arguments: _Arguments) -> int:
    (batch, batches, cancelled, *documents), (ttl_s, batch_id) = keys, arguments[:2]
    first, *new_documents = arguments[2:]
    total, (now_s, _) = _jobs_of(database, batch), database.time()
    if total is None:
        return -1
    database.zremrangebyscore(cancelled, now_s - int(ttl_s))
    database.hset(batch, {b"closed": b"1"})
    database.zadd(cancelled, {batch_id: now_s})
    database.expire(cancelled, int(ttl_s))
    ends: list[tuple[int, bytes | None]] = []
    count = 0
    for offset, (key, new) in enumerate(zip(documents, new_documents, strict=True)):
        place, document = int(first) + offset, database.get(key)
        is_counted = database.swap_pair(batch + b":states", place, None) > 0
        may_cancel = document is None or may(Transition.CANCEL, document)
        if place < total and not is_counted and may_cancel:
            database.set(key, new, ex=int(ttl_s))
            database.publish(key, new)
            ends.append((place, new))
            count += 1
        elif not is_counted and is_final(document):
            ends.append((place, document))
    count_ends(database, batch, batches, int(ttl_s), ends)
    return count


#: By the names of the files.
BATCH_SCRIPTS: Final = {
    "cancel_batch_jobs": _cancel_batch_jobs,
    "close_batch": _close_batch,
    "open_batch": _open_batch,
    "push_batch_jobs": _push_batch_jobs,
}
