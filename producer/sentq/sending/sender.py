"""Send jobs: one Celery task message a job, within the configured time-outs.

If broker and results are in one Redis, which is the default, one script makes jobs known and
appends their messages to the queue: all or none, up to 500 jobs in one round trip. The messages
are made from a template of Celery's.

    texts ── MessageTemplate.fill ──▶ SendGroup ── push_steps (one script) ──▶ queue

Otherwise, and if the application observes Celery's publishing (its signals or `task-sent` events),
Celery publishes each message itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import redis

from sentq.connection.broker import open_broker, run_on_broker
from sentq.connection.clock import RedisClock
from sentq.contract import (
    CALLBACK_HEADER,
    DEADLINE_HEADER,
    DETAIL_HEADER,
    LOCAL_ONLY_HEADER,
    NO_OPTIONS,
    Detail,
    JobOptions,
)
from sentq.errors import (
    BrokerUnavailable,
    EtaTooFar,
    InvalidInput,
    JobExpired,
    KeyConflict,
    QueueFull,
    RedisFull,
    ResultsUnavailable,
    SettingsError,
    UnknownJob,
)
from sentq.results.batch import close_batch_steps, open_batch_steps
from sentq.results.cancel import cancel_steps
from sentq.sending.batch import BatchStep, PlaceTaken
from sentq.sending.idempotency import IdempotencyKeys, KeyClaim, KeyMismatch
from sentq.sending.limits import QueueLimitExceeded, QueueLimits, queue_full_error
from sentq.sending.publish import Publisher
from sentq.sending.push import SendGroup, push_steps
from sentq.sending.template import MessageTemplate
from sentq.tracing.spans import is_tracing_receiver, send_span
from sentq.wire.ids import new_job_ids
from sentq.wire.lua import with_cause
from sentq.wire.reports import WorkerReport, report_steps
from sentq.wire.scheduled import DueTime, moment
from sentq.wire.sealing import Keyring
from sentq.wire.steps import Blocking, Steps

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader

__all__ = ["SendOptions", "Sender"]

#: Jobs of one round trip. More of them are no faster, block Redis for longer, and several thousand
#: exceed the number of arguments that its Lua can pass on.
_JOBS_PER_GROUP: Final = 500

#: Bytes of messages of one round trip. A first message may be larger.
_BYTES_PER_GROUP: Final = 4 * 1024 * 1024

#: Celery's header of the time at which a job is due.
_ETA: Final = "eta"

#: Celery's signals of publishing.
_PUBLISH_SIGNALS: Final = ("before_task_publish", "after_task_publish", "task_sent")


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Options of sent jobs.

    Attributes:
        keys: An idempotency key for each job, or none at all.
        deadline_s: Seconds from now after which the outcome is not needed; None for no deadline.
        local_only: Keep the texts on the worker's machine.
        step: Where the jobs enter a batch; None if they belong to none. Jobs of a batch have no
            keys.
        delay_s: Seconds from now until they are due; None if they are due at once.
        at_s: The same as a time, in Unix seconds.
        callback: The callback of each job, as its header has it; None for none.
        detail: Which parts of the texts are scored, too; None for none.
        asked: What the jobs ask for, as arguments of their messages.
    """

    keys: Sequence[str] = ()
    deadline_s: float | None = None
    local_only: bool = False
    step: BatchStep | None = None
    delay_s: float | None = None
    at_s: float | None = None
    callback: str | None = None
    detail: Detail | None = None
    asked: JobOptions = NO_OPTIONS


_NO_OPTIONS: Final = SendOptions()


class Sender:
    """Sends jobs to the broker. Thread-safe.

    Args:
        results: Makes jobs known before they are sent. Its app is that of the broker too, and
            defines the form of messages.
        system: The broker's name in spans.
        limits: The limits of each queue.
        max_eta_s: How far away the time may be at which a job is due, in seconds.
        keyring: Encrypts the texts; None leaves them as they are.
        key_namespace: Stands before all idempotency keys.
    """

    def __init__(
        self,
        results: ResultReader,
        *,
        system: str,
        limits: QueueLimits,
        max_eta_s: float,
        keyring: Keyring | None = None,
        key_namespace: str = "",
    ) -> None:
        self._results = results
        self._limits = limits
        self._max_eta_s = max_eta_s
        self._keyring = keyring
        self._keys = IdempotencyKeys(key_namespace, keyring)
        self._clock = RedisClock(self._ask_time_steps)
        self._system = system
        self._jobs_per_group = min(_JOBS_PER_GROUP, limits.jobs or _JOBS_PER_GROUP)
        self._bytes_per_group = min(_BYTES_PER_GROUP, limits.bytes or _BYTES_PER_GROUP)
        self._templates: dict[tuple[str, int], MessageTemplate] = {}
        #: By the id of a batch, jobs that entered it, were not sent, and could not be cancelled.
        self._unsent: dict[str, list[str]] = {}

    def send_steps(
        self, jobs: Sequence[Sequence[str]], *, queue: str, options: SendOptions = _NO_OPTIONS
    ) -> Steps[list[str]]:
        """Send jobs of checked texts and return their ids, in the same order.

        Raises:
            EtaTooFar, InvalidInput: They are due too late, or after their deadline.
            KeyConflict: The key of a job belongs to a job with other texts.
            QueueFull, RedisFull: There was no capacity for a job.
            BrokerUnavailable: The broker did not accept a job within the time-outs.
            BatchClosed, BatchTooLarge, UnknownBatch: The batch cannot take a job.
            PlaceTaken: Another sender has added jobs to the batch.
            The `accepted` of each holds the ids of the jobs that were accepted before that one.
        """
        batch_id = options.step.first.batch_id if options.step else None
        with send_span(queue, system=self._system, jobs=len(jobs), batch_id=batch_id) as span:
            ids = yield from self._send_steps(jobs, queue, options, span.headers)
            span.sent(ids)
        return ids

    def _send_steps(
        self,
        jobs: Sequence[Sequence[str]],
        queue: str,
        options: SendOptions,
        trace_headers: Mapping[str, str],
    ) -> Steps[list[str]]:
        accepted: list[str] = []
        try:
            # By Redis' clock: workers compare it with theirs, and a host's may be wrong by hours.
            now_s = yield from self._clock.now_steps()
            due = self._due_time(options, now_s)
            headers = {**_headers(options, now_s, due), **trace_headers}
            claims = [
                self._keys.claim(
                    key,
                    texts,
                    local_only=options.local_only,
                    detail=options.detail,
                    asked=options.asked.arguments,
                )
                for key, texts in zip(options.keys, jobs, strict=bool(options.keys))
            ]
            if self._results.is_single_redis and not self._is_publishing_observed:
                template = self._template(queue).with_options(options.asked.arguments)
                for group in self._groups(jobs, template, headers, claims, now_s, options.step):
                    accepted += yield from push_steps(
                        self._results, group, queue, self._limits, due=due
                    )
            else:
                publisher = Publisher(
                    self._results,
                    queue,
                    limits=self._limits,
                    headers=headers,
                    asked=options.asked.arguments,
                    keyring=self._keyring,
                )
                yield from self._publish_steps(
                    publisher, jobs, claims, now_s, options.step, accepted, due=due
                )
        except QueueLimitExceeded as rejection:
            raise (yield from self._queue_full_steps(queue, rejection, accepted)) from None
        except KeyMismatch as mismatch:
            raise self._key_conflict(len(accepted) + mismatch.place, len(jobs), accepted) from None
        except PlaceTaken as error:
            error.accepted = accepted
            raise
        except (BrokerUnavailable, ResultsUnavailable) as error:
            not_sent = _not_sent(error, accepted)
            raise not_sent from (error.__cause__ if not_sent is error else error)
        return accepted

    def _publish_steps(
        self,
        publisher: Publisher,
        jobs: Sequence[Sequence[str]],
        claims: Sequence[KeyClaim],
        now_s: float,
        step: BatchStep | None,
        accepted: list[str],
        *,
        due: DueTime | None,
    ) -> Steps[None]:
        """Have Celery publish jobs, one by one; add the id of each to `accepted`."""
        if step is not None:
            yield from self._cancel_unsent_steps(step.first.batch_id)
        try:
            for place, texts in enumerate(jobs):
                claim = claims[place] if claims else None
                part = _part(step, place, is_last=False)
                publish = partial(publisher.publish, texts, claim, at_s=now_s, step=part, due=due)
                accepted.append((yield Blocking(publish)))
        finally:
            if step is not None and publisher.unsent:
                self._unsent.setdefault(step.first.batch_id, []).extend(publisher.unsent)
        if step is not None and step.closes:
            yield from self.close_batch_steps(step.first.batch_id)

    def open_batch_steps(self, batch_id: str, callback: bytes) -> Steps[None]:
        """Make a batch known, without jobs.

        Raises:
            BrokerUnavailable, RedisFull: Redis did not accept it.
        """
        try:
            yield from open_batch_steps(self._results, batch_id, callback)
        except ResultsUnavailable as error:
            raise _not_sent(error, []) from error

    def close_batch_steps(self, batch_id: str) -> Steps[None]:
        """Close a batch: it has all of its jobs.

        Raises:
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis did not answer, or refused.
        """
        yield from self._cancel_unsent_steps(batch_id)
        yield from close_batch_steps(self._results, batch_id)

    def _cancel_unsent_steps(self, batch_id: str) -> Steps[None]:
        """Cancel the jobs that entered a batch and were not sent, because Redis went away."""
        while unsent := self._unsent.get(batch_id):
            with suppress(UnknownJob, JobExpired):
                yield from cancel_steps(self._results, unsent[-1])
            unsent.pop()
        self._unsent.pop(batch_id, None)

    def prepare(self, queue: str) -> None:
        """Make the template of a queue's messages, for which the first job would wait."""
        self._template(queue)

    @property
    def _is_publishing_observed(self) -> bool:
        """Whether the application uses signals or events that Celery sends as it publishes.
        Those of OpenTelemetry's instrumentation of Celery do not count: sentq records a span."""
        from celery import signals

        return bool(self._results.app.conf.task_send_sent_event) or any(
            not is_tracing_receiver(receiver)
            for name in _PUBLISH_SIGNALS
            for _, receiver in getattr(signals, name).receivers or ()
        )

    def _due_time(self, options: SendOptions, now_s: float) -> DueTime | None:
        """Return when jobs are due that are sent now; None if they are due at once.

        Raises:
            EtaTooFar: That is too far away.
            InvalidInput: Their deadline is not later.
        """
        at_s = options.at_s if options.delay_s is None else now_s + options.delay_s
        due = None if at_s is None else DueTime.after(now_s, at_s)
        if at_s is None or due is None:
            return None
        in_s = at_s - now_s
        if options.delay_s is None and in_s > self._max_eta_s:
            limit = f"max_eta_s is {self._max_eta_s:,.0f} s"
            raise EtaTooFar(f"due in {in_s:,.0f} s; {limit}")
        if options.deadline_s is not None and options.deadline_s <= in_s:
            raise InvalidInput(
                f"the deadline, {options.deadline_s:,g} s from now, must be later than the time at "
                f"which the job is due, {in_s:,g} s from now"
            )
        return due

    def _groups(
        self,
        jobs: Sequence[Sequence[str]],
        template: MessageTemplate,
        headers: Mapping[str, int | bool | str],
        claims: Sequence[KeyClaim],
        now_s: float,
        step: BatchStep | None,
    ) -> Iterator[SendGroup]:
        """Yield the jobs in send groups, each for one round trip."""
        batch_id, place = step.first if step else (None, 0)
        fill = template.with_headers(headers, batch_id=batch_id).fill
        sent = 0
        for first in range(0, len(jobs), self._jobs_per_group):
            some = jobs[first : first + self._jobs_per_group]
            ids: list[str] = []
            messages: list[bytes] = []
            size_bytes = 0
            for job_id, texts in zip(new_job_ids(len(some), at_s=now_s), some, strict=True):
                message = fill(job_id, texts, place + sent + len(ids))
                size_bytes += len(message)
                if messages and size_bytes > self._bytes_per_group:
                    part = _part(step, sent, is_last=False)
                    yield SendGroup(ids, messages, claims[sent : sent + len(ids)], part)
                    sent += len(ids)
                    ids, messages, size_bytes = [], [], len(message)
                ids.append(job_id)
                messages.append(message)
            part = _part(step, sent, is_last=sent + len(ids) == len(jobs))
            yield SendGroup(ids, messages, claims[sent : sent + len(ids)], part)
            sent += len(ids)

    def _template(self, queue: str) -> MessageTemplate:
        # A message names the process that sent it, and this process may be a fork.
        key = queue, os.getpid()
        if key not in self._templates:
            self._templates[key] = MessageTemplate(self._results.app, queue, self._keyring)
        return self._templates[key]

    def _queue_full_steps(
        self, queue: str, rejection: QueueLimitExceeded, accepted: list[str]
    ) -> Steps[QueueFull]:
        try:
            if self._results.is_single_redis:
                reports = yield from report_steps()
            else:
                reports = yield Blocking(self._reports_of_broker)
        except (BrokerUnavailable, ResultsUnavailable):
            reports = []  # The queue was full, also if Redis is not available since then.
        error = queue_full_error(queue, self._limits, rejection, reports)
        error.accepted = accepted
        return error

    def _reports_of_broker(self) -> list[WorkerReport]:
        return run_on_broker(self._results.app, lambda broker: report_steps(broker.prefix))

    def _key_conflict(self, place: int, count: int, accepted: list[str]) -> KeyConflict:
        """Return the error for a job whose key belongs to other texts. It quotes neither."""
        which = "the idempotency key" if count == 1 else f"the idempotency key of job {place}"
        also = ", and the senders of a key need a common one of encryption_keys"
        error = KeyConflict(
            f"{which} belongs to a job with other texts, local_only, detail or model. A "
            f"key stands for one job for {self._results.ttl_s:,} s after it was sent "
            f"(result_ttl_s): use another key for other texts{also if self._keyring else ''}"
        )
        error.accepted = accepted
        return error

    def _ask_time_steps(self) -> Steps[float]:
        if not self._results.is_single_redis:
            at_s: float = yield Blocking(self._time_of_broker)
            return at_s
        seconds, microseconds = yield ("TIME",)
        return float(seconds) + float(microseconds) / 1e6

    def _time_of_broker(self) -> float:
        try:
            with open_broker(self._results.app) as broker:
                seconds, microseconds = broker.redis.time()
        except SettingsError:
            return time.time()  # Other brokers have no clock to read.
        return float(seconds) + float(microseconds) / 1e6


def _part(step: BatchStep | None, skipped: int, *, is_last: bool) -> BatchStep | None:
    return None if step is None else step.part(skipped, is_last=is_last)


def _headers(
    options: SendOptions, now_s: float, due: DueTime | None
) -> dict[str, int | bool | str]:
    headers: dict[str, int | bool | str] = {}
    if due is not None:
        headers[_ETA] = moment(due.at_ms).isoformat()
    if options.deadline_s is not None:
        headers[DEADLINE_HEADER] = round((now_s + options.deadline_s) * 1000)
    if options.local_only:
        headers[LOCAL_ONLY_HEADER] = True
    if options.detail is not None:
        headers[DETAIL_HEADER] = options.detail
    if options.callback is not None:
        headers[CALLBACK_HEADER] = options.callback
    return headers


def _not_sent(
    error: BrokerUnavailable | ResultsUnavailable, accepted: list[str]
) -> BrokerUnavailable | RedisFull:
    """Return the error for jobs that were not accepted."""
    not_sent: BrokerUnavailable | RedisFull
    if _is_out_of_memory(error):
        not_sent = RedisFull("Redis is at its maxmemory; what it accepted before is intact")
    elif isinstance(error, BrokerUnavailable):
        not_sent = error
    else:
        not_sent = BrokerUnavailable(f"the job was not sent: {error}")
    not_sent.accepted = accepted
    return not_sent


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, is that of a Redis at its maxmemory."""
    while error is not None:
        if isinstance(error, redis.ResponseError):
            error = with_cause(error)
        if isinstance(error, redis.OutOfMemoryError):
            return True
        error = error.__cause__
    return False
