"""What every client does to send jobs: check the arguments of a call, and make the steps.

Nothing is sent before all arguments of a call are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from sentq.contract import (
    MAX_TEXTS_WITH_DETAIL,
    Detail,
    ErrorCode,
    JobOutcome,
    Outcome,
    TextError,
    check_detail,
    check_timeout,
)
from sentq.errors import InvalidInput, JobError, JobFailed, SettingsError
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader
from sentq.sending.arguments import (
    check_counts,
    checked_at_s,
    checked_deadline_s,
    checked_delay_s,
    checked_keys,
    checked_options,
    checked_texts,
    options_of_parts,
    several,
)
from sentq.sending.batch_sender import BatchSender
from sentq.sending.callback import callback_of_batch, callback_of_jobs
from sentq.sending.capacity import capacity_steps
from sentq.sending.limits import QueueLimits
from sentq.sending.sender import Sender, SendOptions
from sentq.stream import JobWindow
from sentq.tracing.spans import messaging_system
from sentq.wire.steps import Pause, Steps

if TYPE_CHECKING:
    from sentq.settings import Settings

__all__ = ["MAP_JOBS_IN_FLIGHT", "MAP_TEXTS_PER_JOB", "Submitter"]

#: How `map` cuts a stream into jobs, and how many of them it keeps in flight.
MAP_TEXTS_PER_JOB: Final = 64
MAP_JOBS_IN_FLIGHT: Final = 32

#: After so many jobs that were checked others may run.
_JOBS_BETWEEN_PAUSES: Final = 1000


class Submitter:
    """Makes the steps that send the jobs of a client.

    Args:
        settings: The queues, and the limits of jobs and queues.
        results: Makes jobs known before they are sent.
    """

    def __init__(self, settings: Settings, results: ResultReader) -> None:
        self._settings = settings
        self._results = results
        self._limits = settings.sender_limits
        self._sender = Sender(
            results,
            system=messaging_system(settings.broker_url.get_secret_value()),
            limits=QueueLimits(settings.max_queued_jobs, settings.max_queued_bytes),
            max_eta_s=settings.max_eta_s,
            keyring=results.keyring,
            key_namespace=settings.key_namespace,
        )

    def prepare(self) -> None:
        """Make what the first job would wait for: Celery's modules, and templates of messages."""
        self._results.key("any")
        for bulk in (False, True):
            self._sender.prepare(self._queue(bulk=bulk))

    def submit_steps(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool,
        keys: Iterable[str] | None,
        deadline: float | None,
        local_only: bool,
        detail: Detail | None,
        delay: float | None,
        at: datetime | None,
        then: object,
        then_argument: str,
        model: str | None,
    ) -> Steps[list[str]]:
        """Check all jobs, then send them; return their ids, in the same order.

        Raises:
            InvalidInput: A job or an option breaks a limit; the message says which.
            SettingsError: A callback needs messages and results in one database of one Redis.
        """
        if delay is not None and at is not None:
            raise InvalidInput("delay and at both say when a job is due: give one of them")
        delay_s, at_s = checked_delay_s(delay, max_eta_s=self._settings.max_eta_s), checked_at_s(at)
        checked: list[Sequence[str]] = []
        unchecked, limits = iter(several(jobs, "submit_many", "jobs")), self._limits
        while part := [
            checked_texts(texts, limits, detail)
            for texts in islice(unchecked, _JOBS_BETWEEN_PAUSES)
        ]:
            checked += part
            if len(part) == _JOBS_BETWEEN_PAUSES:
                yield Pause(0)
        options = SendOptions(
            checked_keys(keys, len(checked)),
            checked_deadline_s(deadline),
            local_only,
            delay_s=delay_s,
            at_s=at_s,
            detail=detail,
            asked=checked_options(model=model),
        )
        if then is not None:
            callback = callback_of_jobs(then, then_argument, jobs=len(checked))
            self._require_single_redis()
            options = replace(options, callback=callback)
        queue = self._queue(bulk=bulk)
        return (yield from self._sender.send_steps(checked, queue=queue, options=options))

    def open_batch_steps(self, batch_id: str, then: object) -> Steps[None]:
        """Open a batch without jobs.

        Args:
            batch_id: Its id.
            then: The signature of its callback; None for none.

        Raises:
            InvalidInput: `then` is not the signature of a task.
            SettingsError: A callback needs messages and results in one database of one Redis.
            BrokerUnavailable, RedisFull: Redis did not accept the batch.
        """
        callback = b"" if then is None else callback_of_batch(then)
        if callback:
            self._require_single_redis()
        yield from self._sender.open_batch_steps(batch_id, callback)

    def close_batch_steps(self, batch_id: str) -> Steps[None]:
        """Close a batch: it has all of its jobs.

        Raises:
            UnknownBatch: Redis has no such batch.
            ResultsUnavailable: Redis did not answer, or refused.
        """
        yield from self._sender.close_batch_steps(batch_id)

    def batch_sender(
        self,
        *,
        bulk: bool,
        deadline: float | None,
        local_only: bool,
        detail: Detail | None,
        timeout: float | None,
        model: str | None,
    ) -> BatchSender:
        """Check the options of jobs that are added to a batch; return what adds them.

        Raises:
            InvalidInput: An option is wrong.
        """
        return BatchSender(
            self._sender,
            self._results,
            queue=self._queue(bulk=bulk),
            options=SendOptions(
                deadline_s=checked_deadline_s(deadline),
                local_only=local_only,
                detail=detail,
                asked=checked_options(model=model),
            ),
            timeout_s=check_timeout(timeout),
        )

    def checked_jobs(
        self, jobs: Iterable[str | Sequence[str]], call: str, detail: Detail | None
    ) -> Iterable[Sequence[str]]:
        """Return the texts of jobs, checked now if they are a list, else as they are read.

        Raises:
            InvalidInput: A job breaks a limit; the message says which.
        """
        check_detail(detail, 1)
        checked = (
            checked_texts(texts, self._limits, detail) for texts in several(jobs, call, "jobs")
        )
        return list(checked) if isinstance(jobs, (list, tuple)) else checked

    def window(
        self,
        *,
        texts_per_job: int,
        jobs_in_flight: int,
        timeout: float | None,
        local_only: bool,
        detail: Detail | None,
        key: str | None,
        model: str | None = None,
        isolate: bool = False,
        on_job: Callable[[JobOutcome], object] | None = None,
    ) -> JobWindow:
        """Check the options of `map`; return the jobs in flight of a new stream.

        Raises:
            InvalidInput: An option is wrong.
        """
        check_counts(texts_per_job=texts_per_job, jobs_in_flight=jobs_in_flight)
        if isolate and key is not None:
            raise InvalidInput("isolate does not go with key: jobs that are sent again have no key")
        check_detail(detail, 1)
        timeout_s = check_timeout(timeout)
        queue, asked = self._queue(bulk=True), checked_options(model=model)
        options = options_of_parts(key, local_only=local_only, detail=detail, asked=asked)
        most_texts = self._settings.texts_per_job
        if detail is not None:
            most_texts = min(most_texts, MAX_TEXTS_WITH_DETAIL)

        def send_steps(texts: Sequence[str]) -> Steps[str]:
            of_part = next(options)
            (job_id,) = yield from capacity_steps(
                lambda: self._sender.send_steps([texts], queue=queue, options=of_part),
                timeout_s=timeout_s,
            )
            return job_id

        def isolated_steps(texts: Sequence[str]) -> Steps[list[Outcome]]:
            results = OrderedResults(self._results, timeout_s=timeout_s)
            for text in texts:
                results.expect((yield from send_steps([text])))
            outcomes: list[Outcome] = []
            for _ in texts:
                ended = yield from results.end_steps()
                outcomes += _outcome_alone(ended, on_job)
            return outcomes

        return JobWindow(
            limits=self._limits,
            texts_per_job=min(texts_per_job, most_texts),
            jobs_in_flight=jobs_in_flight,
            send=send_steps,
            results=OrderedResults(self._results, timeout_s=timeout_s),
            isolate=isolated_steps if isolate else None,
            on_job=on_job or (lambda _: None),
        )

    def _require_single_redis(self) -> None:
        if not self._settings.is_single_redis:
            raise SettingsError(
                "a callback (then) needs messages and results in one database of one Redis"
            )

    def _queue(self, *, bulk: bool) -> str:
        return self._settings.bulk_queue if bulk else self._settings.queue


def _outcome_alone(
    ended: JobOutcome | JobError, on_job: Callable[[JobOutcome], object] | None
) -> Sequence[Outcome]:
    """Return the outcome of a text in a job of its own."""
    if isinstance(ended, JobFailed):
        code = ErrorCode.TEXT_TOO_LONG if ended.code == "TooManyTokens" else None
        message = f"the job of this text failed: {ended.code}"
        return [TextError(code=code or ErrorCode.INFERENCE_FAILED, message=message)]
    if isinstance(ended, JobError):
        raise ended
    if on_job is not None:
        on_job(ended)
    return ended.outcomes
