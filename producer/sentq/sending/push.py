"""One step of sending, where jobs and outcomes lie in one Redis: all of it or none.

A plain step makes the jobs known and pushes their messages. A careful one looks first whether
there is room, and whether a job was sent before under the same key; still in one script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentq.connection.broker import queue_lists
from sentq.results.reader import ResultReader
from sentq.sending.idempotency import key_of
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, QueueUsage
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.lua import load_script

__all__ = ["SendGroup", "push"]

_PUSH: Final = load_script("sentq.wire", "push_jobs")
_PUSH_WITH_CONDITIONS: Final = load_script("sentq.wire", "push_jobs_with_conditions")


@dataclass(frozen=True, slots=True)
class SendGroup:
    """Jobs that are sent together: their ids, their messages, and the keys of those that have
    some: of all, or of none."""

    ids: list[str]
    messages: list[bytes]
    keys: Sequence[str]


def push(results: ResultReader, step: SendGroup, queue: str, limits: QueueLimits) -> list[str]:
    """Send the jobs of a step; return their ids, or of those that were sent before under the
    same keys.

    Raises:
        NoRoom: None was sent.
        ResultsUnavailable: Redis did not answer, or refused.
    """
    keys: list[str | bytes] = [queue, results.queued_key(step.ids)]
    arguments: list[int | str | bytes] = [results.ttl_s, QUEUED_DOCUMENT]
    if not limits and not step.keys:
        results.run_script(_PUSH, keys, [*arguments, *step.messages])
        return step.ids
    lists = queue_lists(queue)[1:] if limits else []
    arguments += [-1 if limit is None else limit for limit in (limits.jobs, limits.bytes)]
    arguments += [len(lists), len(step.keys), *(step.ids if step.keys else ()), *step.messages]
    reply: list[Any] = results.run_script(
        _PUSH_WITH_CONDITIONS, [*keys, *lists, *map(key_of, step.keys)], arguments
    )
    if not reply[0]:
        waiting_jobs, waiting_bytes, added_jobs, added_bytes = reply[1:]
        raise QueueLimitExceeded(
            QueueUsage(waiting_jobs, waiting_bytes), QueueUsage(added_jobs, added_bytes)
        )
    return [known.decode() for known in reply[1:]] if step.keys else step.ids
