"""A job in flight: taken from its queue, and not yet acknowledged.

A message that went back to its queue may come again to the worker that still has its job: its
lease expired while Redis was away. Such duplicate deliveries are scored once, and acknowledged
together. Jobs are known by their ids: the second of two different jobs with one id would get no
result of its own either, because the first result stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from sentq.contract import (
    DEADLINE_HEADER,
    DETAIL_HEADER,
    LOCAL_ONLY_HEADER,
    NO_OPTIONS,
    TASK_NAME,
    Detail,
    ErrorCode,
    JobOptions,
    TextError,
    check_detail,
    redacted,
)
from sentq.errors import InvalidInput
from sentq.logs import job_fields
from sentq.tracing.context import TraceContext, trace_context_in
from sentq.wire.batches import BatchPlace, place_in
from sentq.wire.ids import sent_at_ms
from sentq_worker.broker.delivery import SUSPECT_AFTER, lost_deliveries
from sentq_worker.broker.message import retries_in
from sentq_worker.broker.protocols import Headers
from sentq_worker.jobs.ack_handles import AckHandle

__all__ = [
    "DEADLINE_PASSED",
    "DUE_HEADER",
    "DeliveredJob",
    "DuplicateDeliveries",
    "InFlightJob",
    "batch_tags",
    "check_options",
    "has_deadline_passed",
    "named",
    "with_duplicates",
]

#: A header that this worker adds in memory to a job that had an eta: when it was due, in Unix
#: milliseconds.
DUE_HEADER: Final = "sentq_due_ms"

#: The outcome of each text of a job whose deadline has passed.
DEADLINE_PASSED: Final = TextError(
    code=ErrorCode.DEADLINE_PASSED, message="the job's deadline passed before it was scored"
)


@dataclass(eq=False, slots=True)
class DeliveredJob:
    """What the message of a job asks for.

    Attributes:
        id: The job's id.
        texts: The texts to be scored.
        headers: Celery's, as they came.
        delivery_info: Kombu's: the queue, and whether the message was delivered before.
        asked: What it asks for beside its texts.
    """

    id: str
    texts: Sequence[object]
    headers: Headers
    delivery_info: Headers
    asked: JobOptions = field(default=NO_OPTIONS, init=False)

    @property
    def is_local_only(self) -> bool:
        """Whether its texts may not leave this machine."""
        return bool(self.headers.get(LOCAL_ONLY_HEADER))

    @property
    def detail(self) -> Detail | None:
        """Which parts of its texts are scored, too."""
        detail = self.headers.get(DETAIL_HEADER)
        return None if detail is None else cast("Detail", detail)

    @property
    def deadline_ms(self) -> float | None:
        """The time until which its result is of use, by Redis' clock."""
        return _deadline_ms(self.headers)

    @property
    def place(self) -> BatchPlace | None:
        """Its place in a batch, if it belongs to one."""
        return place_in(self.headers)

    @property
    def sent_at_ms(self) -> float | None:
        """When it was sent, by its sender's clock, or was due, if that was later; None if its id
        does not tell."""
        sent_ms, due_ms = sent_at_ms(self.id), self.headers.get(DUE_HEADER)
        if type(due_ms) is int and (sent_ms is None or due_ms > sent_ms):
            return due_ms
        return sent_ms

    @property
    def trace_context(self) -> TraceContext | None:
        """The span in which it was sent, if its headers tell."""
        return trace_context_in(self.headers)

    @property
    def queue(self) -> str:
        """The queue that it came through."""
        return str(self.delivery_info.get("routing_key", ""))


@dataclass(eq=False, slots=True)
class InFlightJob(DeliveredJob):
    """A job in flight. Thousands are made each second, so it holds only what is needed.

    Attributes:
        ack_handle: Acknowledges its message.
        tries: How many batches it was in that gave it no result.
        shortages: In how many of these memory was short.
        duplicates: Later deliveries of the same job.
        lost_deliveries: How many deliveries of its message were lost, as its headers tell.
        chars: The number of characters that are read for its texts: twice as many if their parts
            are scored, too. A job is looked at for several batches until one has it.
    """

    ack_handle: AckHandle
    tries: int = 0
    shortages: int = 0
    duplicates: tuple[InFlightJob, ...] = ()
    lost_deliveries: int = field(init=False)
    chars: int = field(init=False)

    def __post_init__(self) -> None:
        self.lost_deliveries = lost_deliveries(self.headers)
        chars = sum([len(text) for text in self.texts if isinstance(text, str)])
        self.chars = 2 * chars if DETAIL_HEADER in self.headers else chars

    @property
    def attempts(self) -> int:
        """How many times it was tried, other workers included as far as its headers tell."""
        redelivered = self.lost_deliveries or bool(self.delivery_info.get("redelivered"))
        return 1 + retries_in(self.headers) + redelivered + self.tries

    @property
    def is_suspect(self) -> bool:
        """Whether it may be the reason why workers were lost: it must run alone, marked."""
        return self.lost_deliveries >= SUSPECT_AFTER

    @property
    def tag(self) -> str | None:
        """The tag under which its message is recorded in Redis; None on another broker."""
        return self.ack_handle.tag

    @property
    def is_plain(self) -> bool:
        """Whether this worker completes it itself, and not Celery."""
        return self.ack_handle.is_plain

    @property
    def ignores_result(self) -> bool:
        """Whether its sender wants no result stored."""
        return bool(self.headers.get("ignore_result"))

    def info(
        self, *, hostname: str, worker_pid: int, started_at_s: float | None
    ) -> dict[str, object]:
        """Return what `celery inspect` shows of it; no text."""
        return {
            "id": self.id,
            "name": TASK_NAME,
            "args": redacted(len(self.texts)),
            "kwargs": "{}",
            "type": TASK_NAME,
            "hostname": hostname,
            "time_start": started_at_s,
            "acknowledged": False,
            "delivery_info": dict(self.delivery_info),
            "worker_pid": worker_pid,
        }


class DuplicateDeliveries:
    """The plain jobs in flight, by their ids."""

    def __init__(self) -> None:
        self._first: dict[str, InFlightJob] = {}

    def joins(self, job: InFlightJob) -> bool:
        """Record a job that was delivered; return whether it is in flight already, and will be
        completed with its first delivery."""
        first = self._first.setdefault(job.id, job)
        if first is job:
            return False
        first.duplicates += (job,)
        return True

    def remove(self, jobs: Iterable[InFlightJob]) -> None:
        """Remove jobs that are no longer in flight, and their duplicates with them."""
        for job in jobs:
            if self._first.get(job.id) is job:
                del self._first[job.id]


def with_duplicates(jobs: Sequence[InFlightJob]) -> Sequence[InFlightJob]:
    """Return jobs, and those that are completed with them."""
    return [*jobs, *(duplicate for job in jobs for duplicate in job.duplicates)]


def named(jobs: Iterable[DeliveredJob]) -> dict[str, object]:
    """Return the `extra` of a log line about jobs: their ids, and those of their traces."""
    jobs = [*jobs]
    contexts = [job.trace_context for job in jobs]
    traces = [context.trace_id for context in contexts if context is not None]
    return job_fields([job.id for job in jobs], traces)


def batch_tags(jobs: Iterable[InFlightJob]) -> list[str]:
    """Return the tags by which these jobs are acknowledged together, on any connection. Jobs
    without one are left out."""
    return [tag for job in jobs if (tag := job.ack_handle.batch_tag) is not None]


def check_options(headers: Headers, texts: int) -> None:
    """Check the deadline and the detail in the headers of a message with so many texts.

    Raises:
        InvalidInput: The deadline is not a finite number, there is no such detail, or it permits
            fewer texts.
    """
    if DETAIL_HEADER in headers:
        check_detail(headers[DETAIL_HEADER], texts)
    deadline_ms = headers.get(DEADLINE_HEADER)
    if deadline_ms is None or type(deadline_ms) is int:
        return
    if type(deadline_ms) is not float or not math.isfinite(deadline_ms):
        raise InvalidInput(f"the header {DEADLINE_HEADER} must be a number of milliseconds")


def has_deadline_passed(headers: Headers, now_ms: float) -> bool:
    """Return whether the job with these headers, which were checked, has a deadline that has
    passed."""
    deadline_ms = _deadline_ms(headers)
    return deadline_ms is not None and deadline_ms <= now_ms


def _deadline_ms(headers: Headers) -> float | None:
    deadline_ms = headers.get(DEADLINE_HEADER)
    return deadline_ms if isinstance(deadline_ms, (int, float)) else None
