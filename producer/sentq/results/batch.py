"""What Redis knows of a batch: its counts, its jobs, and the order in which they ended.

Steps for the Redis of the results. Each takes one round trip, however many jobs the batch has, but
to cancel a batch takes one for 500 jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from pydantic import BaseModel, ConfigDict

from sentq.connection.app import key_with_result_prefix
from sentq.errors import InvalidInput, UnknownBatch
from sentq.results.cancel import CANCELLED_KEY, notify_workers_steps
from sentq.wire.batches import (
    COMPLETE_BATCHES_KEY,
    ID_BYTES,
    PLACE_BYTES,
    batch_key,
    is_batch_id,
    unpacked_ids,
    unpacked_places,
)
from sentq.wire.documents import cancelled_document
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import Command, ScriptCall, Steps

if TYPE_CHECKING:
    from sentq.results.steps import ResultSteps

__all__ = [
    "BatchProgress",
    "CallbackState",
    "batch_keys",
    "cancel_batch_steps",
    "check_batch_id",
    "close_batch_steps",
    "ended_places_steps",
    "ids_of_batch_steps",
    "open_batch_steps",
    "progress_steps",
    "unknown_batch",
]

#: How many jobs are cancelled in one step.
_CANCEL_STEP: Final = 500

_OPEN: Final = FUNCTIONS["open_batch"]
_CLOSE: Final = FUNCTIONS["close_batch"]
_CANCEL: Final = FUNCTIONS["cancel_batch_jobs"]

_FIELDS: Final = (
    *("total", "done", "failed", "cancelled", "closed"),
    *("complete_ms", "callback", "callback_state"),
)


class CallbackState(StrEnum):
    """Where the callback of a batch is."""

    #: The batch is not complete, or its callback is not published yet.
    WAITING = "waiting"
    #: A worker has published it.
    SENT = "sent"
    #: The workers' `follow_tasks` or `follow_queues` do not allow it, or it cannot be published.
    REFUSED = "refused"


class BatchProgress(BaseModel):
    """The counts of a batch at one time.

    Attributes:
        id: The id of the batch.
        total: How many jobs were sent.
        done: How many were scored.
        failed: How many failed as a whole, or expired.
        cancelled: How many were cancelled or revoked.
        is_closed: Whether the batch takes no more jobs, so that `total` is final.
        is_complete: Whether it is closed and all of its jobs have ended.
        callback: Where its callback is; None if it has none.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    total: int
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    is_closed: bool = False
    is_complete: bool = False
    callback: CallbackState | None = None

    @property
    def ended(self) -> int:
        """How many jobs have ended: done, failed or cancelled."""
        return self.done + self.failed + self.cancelled

    @property
    def remaining(self) -> int:
        """How many jobs wait or are being scored."""
        return max(0, self.total - self.ended)


def batch_keys(results: ResultSteps, batch_id: str) -> tuple[bytes, bytes]:
    """Return the keys of a batch, and of the batches whose callback is to be published."""
    return (
        key_with_result_prefix(results.app, batch_key(batch_id)),
        key_with_result_prefix(results.app, COMPLETE_BATCHES_KEY),
    )


def unknown_batch(batch_id: str) -> UnknownBatch:
    """Return the error for a batch that Redis does not have."""
    return UnknownBatch(
        f"Redis knows no batch {batch_id}: it was never opened there, or is kept no longer, or "
        "Redis lost its data",
        batch_id,
    )


def check_batch_id(batch_id: object) -> str:
    """Return the id of a batch, if it has the form of one.

    Raises:
        InvalidInput: It has not.
    """
    if not isinstance(batch_id, str) or not is_batch_id(batch_id):
        raise InvalidInput("the id of a batch is a UUID, as Batch.id has it")
    return batch_id


def open_batch_steps(results: ResultSteps, batch_id: str, callback: bytes = b"") -> Steps[None]:
    """Make a batch known."""
    key, _ = batch_keys(results, batch_id)
    yield ScriptCall(_OPEN, [key], [results.ttl_s, callback])


def close_batch_steps(results: ResultSteps, batch_id: str) -> Steps[None]:
    """Close a batch: it has all of its jobs.

    Raises:
        UnknownBatch: Redis has no such batch.
    """
    if not (yield ScriptCall(_CLOSE, batch_keys(results, batch_id), [results.ttl_s])):
        raise unknown_batch(batch_id)


def progress_steps(results: ResultSteps, batch_id: str) -> Steps[BatchProgress]:
    """Return the counts of a batch.

    Raises:
        UnknownBatch: Redis has no such batch.
    """
    key, _ = batch_keys(results, batch_id)
    found = cast("list[bytes | None]", (yield ("HMGET", key, *_FIELDS)))
    total, done, failed, cancelled, closed, complete_ms, callback, state = found
    if total is None:
        raise unknown_batch(batch_id)
    return BatchProgress(
        id=batch_id,
        total=int(total),
        done=int(done or 0),
        failed=int(failed or 0),
        cancelled=int(cancelled or 0),
        is_closed=closed is not None,
        is_complete=complete_ms is not None,
        callback=CallbackState((state or b"waiting").decode()) if callback else None,
    )


def ids_of_batch_steps(
    results: ResultSteps, batch_id: str, first: int, count: int
) -> Steps[list[str]]:
    """Return the ids of at most `count` jobs of a batch, by their places."""
    return unpacked_ids((yield _range_of(results, batch_id, "jobs", first, count, ID_BYTES)))


def ended_places_steps(
    results: ResultSteps, batch_id: str, first: int, count: int
) -> Steps[Sequence[int]]:
    """Return the places of at most `count` jobs that have ended, in the order in which they did,
    without the `first` ones."""
    return unpacked_places((yield _range_of(results, batch_id, "ends", first, count, PLACE_BYTES)))


def cancel_batch_steps(results: ResultSteps, batch_id: str) -> Steps[int]:
    """Close a batch and cancel its jobs, except those that run or have ended; return how many were
    cancelled by this call.

    If Redis goes away meanwhile, some jobs may be cancelled. Workers do not score the others,
    either, if the batch is closed by then.

    Raises:
        UnknownBatch: Redis has no such batch.
    """
    keys = [
        *batch_keys(results, batch_id),
        key_with_result_prefix(results.app, CANCELLED_KEY),
    ]
    cancelled, first = 0, 0
    ids: list[str] = []
    while not first or len(ids) == _CANCEL_STEP:
        ids = yield from ids_of_batch_steps(results, batch_id, first, _CANCEL_STEP)
        documents = map(cancelled_document, ids)
        reply = yield ScriptCall(
            _CANCEL,
            [*keys, *map(results.key, ids)],
            [results.ttl_s, batch_id, first, *documents],
        )
        if reply < 0:
            raise unknown_batch(batch_id)
        cancelled, first = cancelled + reply, first + _CANCEL_STEP
    yield from notify_workers_steps(results, batch_id)
    return cancelled


def _range_of(
    results: ResultSteps, batch_id: str, part: str, first: int, count: int, width: int
) -> Command:
    key, _ = batch_keys(results, batch_id)
    last = (first + count) * width - 1
    return ("GETRANGE", key + f":{part}".encode(), first * width, last)
