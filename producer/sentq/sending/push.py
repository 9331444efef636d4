"""Send a group of jobs in one step, all or none, if jobs and outcomes are in one Redis.

One script makes the jobs known and appends their messages to the queue. With limits or idempotency
keys another script does so: it also checks the capacity, and sends no job twice under one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentq.connection.broker import queue_lists
from sentq.results.steps import ResultSteps
from sentq.sending.batch import BatchStep, push_to_batch_steps
from sentq.sending.idempotency import KEY_POLL_INTERVAL_S, KeyClaim, KeyMismatch
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.functions import FUNCTIONS
from sentq.wire.scheduled import DueTime
from sentq.wire.steps import Pause, ScriptCall, Steps

__all__ = ["SendGroup", "push_steps"]

#: What replies begin with if jobs were not sent.
_OVER_LIMIT: Final = 0
_CONFLICT: Final = -1
_IS_BEING_SENT: Final = -2

_PUSH: Final = FUNCTIONS["push_jobs"]
_PUSH_WITH_CONDITIONS: Final = FUNCTIONS["push_jobs_with_conditions"]


@dataclass(frozen=True, slots=True)
class SendGroup:
    """Jobs that are sent in one round trip.

    Attributes:
        ids: Their ids, which share what `send_group_of` returns.
        messages: Their messages, in the same order.
        claims: The claim of an idempotency key for each, or none at all.
        step: Where they enter a batch, if they do; then there are no claims.
    """

    ids: list[str]
    messages: list[bytes]
    claims: Sequence[KeyClaim]
    step: BatchStep | None = None


def push_steps(
    results: ResultSteps,
    group: SendGroup,
    queue: str,
    limits: QueueLimits,
    *,
    due: DueTime | None = None,
) -> Steps[list[str]]:
    """Send a group of jobs; return their ids, or those of the jobs that were sent first under the
    same keys.

    Args:
        results: The Redis in which the jobs are made known.
        group: The jobs. Their messages say when they are due.
        queue: The queue.
        limits: The limits of the queue.
        due: When they are due; None if at once.

    Raises:
        QueueLimitExceeded: The queue is full, and no job was sent.
        KeyMismatch: A key belongs to a job with other texts, and no job was sent.
        PlaceTaken, BatchClosed, BatchTooLarge, UnknownBatch: As for `push_to_batch_steps`.
    """
    if group.step is not None:
        yield from push_to_batch_steps(
            results, group.ids, group.messages, queue, limits=limits, step=group.step
        )
        return group.ids
    keys: list[str | bytes] = [queue, results.queued_key(group.ids)]
    arguments: list[int | str | bytes] = [*results.queued_as(due)]
    if not limits and not group.claims:
        yield ScriptCall(_PUSH, keys, [*arguments, *group.messages])
        return group.ids
    lists = queue_lists(queue)[1:] if limits else []
    keys += [*lists, *(claim.name for claim in group.claims)]
    arguments += [-1 if limit is None else limit for limit in (limits.jobs, limits.bytes)]
    arguments += [len(lists), len(group.claims), *(group.ids if group.claims else ())]
    arguments += [*(claim.digests for claim in group.claims), *group.messages]
    reply, *more = yield from _push_when_keys_are_free(keys, arguments)
    if reply == _CONFLICT:
        raise KeyMismatch(place=more[0])
    if reply == _OVER_LIMIT:
        waiting_jobs, waiting_bytes, added_jobs, added_bytes = more
        raise QueueLimitExceeded(
            QueueUsage(waiting_jobs, waiting_bytes), QueueUsage(added_jobs, added_bytes)
        )
    return [known.decode() for known in more] if group.claims else group.ids


def _push_when_keys_are_free(
    keys: Sequence[str | bytes], arguments: Sequence[int | str | bytes]
) -> Steps[list[Any]]:
    """Send; again while another sender, whose sending takes several steps, sends the job of a key.
    Its reservation expires."""
    while True:
        reply: list[Any] = yield ScriptCall(_PUSH_WITH_CONDITIONS, keys, arguments)
        if reply[0] != _IS_BEING_SENT:
            return reply
        yield Pause(KEY_POLL_INTERVAL_S)
