"""Batches: any number of jobs that are counted as one thing. Their form in Redis:

    sentq-batch-<id>          hash         how many jobs it has, and how many ended in which way;
                                           whether it is closed, and complete; its callback
    sentq-batch-<id>:jobs     string       the ids of its jobs by place, 16 bytes each
    sentq-batch-<id>:states   string       how each of them ended, 2 bits each
    sentq-batch-<id>:ends     string       places in the order in which jobs ended, 4 bytes each
    sentq.batches             sorted set   the keys of batches that are complete and whose callback
                                           is not published, by when they were, in Unix seconds

A job knows its batch by a header of its message, `sentq_batch: <id>:<place>`. The script that
stores the outcome of a job counts it too. `sentq-batch-<id>` is also the name of a channel on which
each change of the counts is published, without what has changed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sentq.contract import BATCH_HEADER
from sentq.wire.ids import UUID_PATTERN, is_uuid

__all__ = [
    "BATCH_KEY_PREFIX",
    "COMPLETE_BATCHES_KEY",
    "MAX_JOBS_PER_BATCH",
    "BatchPlace",
    "batch_document",
    "batch_key",
    "is_batch_id",
    "packed_ids",
    "place_in",
    "unpacked_ids",
    "unpacked_places",
]

#: What the keys of batches begin with.
BATCH_KEY_PREFIX: Final = "sentq-batch-"

#: The batches whose callback is to be published.
COMPLETE_BATCHES_KEY: Final = "sentq.batches"

#: The most jobs of a batch, as `lib/batch_counts.lua` has it. They take 20 MB.
MAX_JOBS_PER_BATCH: Final = 1_000_000

ID_BYTES: Final = 16
PLACE_BYTES: Final = 4

_HEADER: Final = re.compile(f"({UUID_PATTERN}):([0-9]{{1,7}})", re.ASCII)


class BatchPlace(NamedTuple):
    """Where a job stands in its batch; places count from 0."""

    batch_id: str
    place: int

    def __str__(self) -> str:
        """The form of the header."""
        return f"{self.batch_id}:{self.place}"


def place_in(headers: Mapping[str, object]) -> BatchPlace | None:
    """Return the place that the headers of a message name; None if they name none, or no valid
    one."""
    value = headers.get(BATCH_HEADER)
    found = _HEADER.fullmatch(value) if isinstance(value, str) else None
    return BatchPlace(found[1], int(found[2])) if found else None


def is_batch_id(value: object) -> bool:
    """Return whether this has the form of an id."""
    return isinstance(value, str) and is_uuid(value)


def batch_key(batch_id: str) -> str:
    """Return the name of the hash of a batch."""
    return f"{BATCH_KEY_PREFIX}{batch_id}"


def batch_document(first: BatchPlace) -> bytes:
    """Return the document that makes jobs known that are sent together in a batch.

    It names their batch and the place of the first one, for readers that know the id of a job only.
    """
    return b'{"status": "PENDING", "result": null, "sentq_batch": "%s"}' % str(first).encode()


def packed_ids(job_ids: Iterable[str]) -> bytes:
    """Return job ids, which are UUIDs, in 16 bytes each."""
    return bytes.fromhex("".join(job_ids).replace("-", ""))


def unpacked_ids(packed: bytes) -> list[str]:
    """Return the job ids in packed ones."""
    digits, width = packed.hex(), 2 * ID_BYTES
    return [_dashed(digits[at : at + width]) for at in range(0, len(digits) - width + 1, width)]


def unpacked_places(packed: bytes) -> Sequence[int]:
    """Return the places in packed ones."""
    count = len(packed) // PLACE_BYTES
    return struct.unpack(f">{count}I", packed[: count * PLACE_BYTES])


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
