"""Enter jobs into a batch, in the step that sends them.

The script checks the place of the first job. So jobs of several senders do not mix, and a step
whose reply was lost can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentq.connection.app import key_with_result_prefix
from sentq.connection.broker import queue_lists
from sentq.errors import BatchClosed, BatchTooLarge
from sentq.results.batch import batch_keys, unknown_batch
from sentq.results.steps import ResultSteps
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.batches import BatchPlace, batch_document, packed_ids
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import ScriptCall, Steps

__all__ = ["BatchStep", "PlaceTaken", "push_to_batch_steps"]

_PUSH: Final = FUNCTIONS["push_batch_jobs"]


class PlaceTaken(Exception):
    """Another sender has added jobs to the batch, which has `jobs` now. `accepted` holds the ids of
    the jobs that were accepted before."""

    accepted: Sequence[str] = ()

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self.jobs = jobs


@dataclass(frozen=True, slots=True)
class BatchStep:
    """Where jobs enter a batch.

    Attributes:
        first: The batch, and the place of the first job.
        closes: Whether the batch is closed with the last of these jobs.
    """

    first: BatchPlace
    closes: bool = False

    def part(self, skipped: int, *, is_last: bool) -> BatchStep:
        """Return the step of some of the jobs, which come after so many others; it closes the
        batch only if they are the last ones."""
        batch_id, place = self.first
        return BatchStep(BatchPlace(batch_id, place + skipped), self.closes and is_last)


def push_to_batch_steps(
    results: ResultSteps,
    job_ids: Sequence[str],
    messages: Sequence[bytes],
    queue: str,
    *,
    limits: QueueLimits,
    step: BatchStep,
) -> Steps[None]:
    """Enter jobs into a batch, and send them in the same step, all or none.

    Args:
        results: The Redis in which the batch is.
        job_ids: The ids of the jobs, which share what `send_group_of` returns.
        messages: Their messages; none if Celery publishes them afterwards.
        queue: The queue.
        limits: The limits of the queue.
        step: Where they enter.

    Raises:
        PlaceTaken: The batch has other jobs there.
        BatchClosed, BatchTooLarge, UnknownBatch: The batch cannot take them.
        QueueLimitExceeded: The queue is full.
    """
    batch_id = step.first.batch_id
    _, sent_key = results.document_keys(job_ids[0])
    lists = queue_lists(queue)[1:] if limits and messages else []
    most = [-1 if limit is None else limit for limit in (limits.jobs, limits.bytes)]
    head: list[int | bytes] = [results.ttl_s, batch_document(step.first)]
    tail: list[str | bytes] = ["1" if step.closes else "", *messages]
    reply: list[Any] = yield ScriptCall(
        _PUSH,
        # With a key prefix, Celery publishes. A cluster wants all keys to have the prefix even so.
        [
            key_with_result_prefix(results.app, queue),
            sent_key,
            *batch_keys(results, batch_id),
            *lists,
        ],
        [*head, *most, step.first.place, packed_ids(job_ids), *tail],
    )
    _check(reply, batch_id)


def _check(reply: Sequence[int], batch_id: str) -> None:
    """Raise the error that a reply stands for; the script says what each means."""
    match reply:
        case [0, jobs, size_bytes, added_jobs, added_bytes]:
            raise QueueLimitExceeded(
                QueueUsage(jobs, size_bytes), QueueUsage(added_jobs, added_bytes)
            )
        case [-1, jobs]:
            raise PlaceTaken(jobs)
        case [-2]:
            raise BatchClosed(f"the batch {batch_id} is closed, and takes no more jobs")
        case [-3]:
            raise unknown_batch(batch_id)
        case [-4, most]:
            raise BatchTooLarge(f"a batch has at most {most:,} jobs")
