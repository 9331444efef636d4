"""Batches as scripts see them, for tests of scripts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, cast

import redis

from sentq.wire.batches import BatchPlace, batch_document, batch_key, packed_ids
from sentq.wire.ids import new_job_ids
from sentq.wire.lua import load_script

__all__ = ["BATCH", "BATCHES", "KEY", "TTL_S", "close", "counts", "end_order", "open_batch", "push"]

BATCH: Final = "0192f0c1-7d3c-7aaa-8bbb-0123456789ab"
KEY: Final = batch_key(BATCH)
BATCHES: Final = "sentq.batches"
TTL_S: Final = 60

_OPEN: Final = load_script("sentq.wire", "open_batch")
_PUSH: Final = load_script("sentq.wire", "push_batch_jobs")
_CLOSE: Final = load_script("sentq.wire", "close_batch")


def open_batch(server: redis.Redis, *, callback: str = "") -> None:
    """Open the batch."""
    _OPEN.run(server, [KEY], [TTL_S, callback])


def push(
    server: redis.Redis,
    ids: Sequence[str] | int,
    *,
    place: int = 0,
    closes: bool = False,
    limit: int = -1,
) -> Any:
    """Push jobs into the queue `queue`, and enter them into the batch; return the reply."""
    ids = new_job_ids(ids) if isinstance(ids, int) else ids
    document = batch_document(BatchPlace(BATCH, place))
    limits = [] if limit < 0 else ["low"]
    return _PUSH.run(
        server,
        ["queue", f"sent-{ids[0][:23]}", KEY, BATCHES, *limits],
        [
            *(TTL_S, document, limit, -1, place, packed_ids(ids), "1" if closes else ""),
            *(f"message {job_id}" for job_id in ids),
        ],
    )


def close(server: redis.Redis) -> Any:
    """Close the batch; return the reply."""
    return _CLOSE.run(server, [KEY, BATCHES], [TTL_S])


def counts(server: redis.Redis) -> dict[str, int]:
    """Return the fields of the batch that are numbers, except times and zeros."""
    found = cast("dict[bytes, bytes]", server.hgetall(KEY))
    return {
        name.decode(): int(value)
        for name, value in found.items()
        if name in {b"total", b"done", b"failed", b"cancelled", b"closed"} and value != b"0"
    }


def end_order(server: redis.Redis) -> list[int]:
    """Return the places in the order in which jobs ended."""
    packed = cast("bytes | None", server.get(f"{KEY}:ends")) or b""
    return list(struct.unpack(f">{len(packed) // 4}I", packed))
