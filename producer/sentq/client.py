"""The client: submit texts, ask for outcomes, stream a whole collection through the workers.

client = Client()
job = client.submit(["What a day!", "Never again."])
job.result(timeout=10).outcomes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from sentq.admin.dead import DeadLetters
from sentq.admin.status import ServiceStatus, read_status
from sentq.connection.app import make_app
from sentq.contract import JobOutcome, Outcome, check_job
from sentq.errors import InvalidInput, JobError, NotAString
from sentq.job import Job
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader
from sentq.sending.capacity import wait_for_capacity
from sentq.sending.limits import QueueLimits
from sentq.sending.sender import Sender, SendOptions
from sentq.settings import Settings
from sentq.stream import stream

__all__ = ["Client", "Job"]

#: How `map` cuts a stream into jobs, and how many it keeps between itself and the workers.
_MAP_TEXTS_PER_JOB: Final = 64
_MAP_JOBS_IN_FLIGHT: Final = 32

_LONGEST_DEADLINE_S: Final = 365 * 24 * 60 * 60


class Client:
    """Sends texts to sentq workers. Safe to share between threads; open one a process.

    Args:
        settings: As loaded by `Settings.load`; None reads environment and file.
        overrides: Single settings, such as `broker_url="redis://…"`, that beat the others.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """

    def __init__(self, settings: Settings | None = None, **overrides: object) -> None:
        if settings is None or overrides:
            base = {} if settings is None else settings.model_dump(exclude_unset=True)
            settings = Settings.load(**(base | overrides))
        self._settings = settings
        self._limits = settings.limits
        self._app = make_app(settings)
        self._results = ResultReader(self._app, ttl_s=settings.result_ttl_s)
        limits = QueueLimits(settings.max_queued_jobs, settings.max_queued_bytes)
        self._sender = Sender(self._app, self._results, one_redis=settings.one_redis, limits=limits)

    def submit(
        self,
        texts: str | Sequence[str],
        *,
        bulk: bool = False,
        key: str | None = None,
        deadline: float | None = None,
        local_only: bool = False,
    ) -> Job:
        """Send one job and return at once.

        Args:
            texts: One text, or up to 256 of them.
            bulk: Put the job into the queue that yields to single jobs.
            key: Makes it safe to send again: as long as outcomes are kept, whoever sends a job
                under the same key gets the job that was sent first, whatever its texts.
            deadline: Seconds from now after which nobody needs the outcome: texts that were not
                scored by then end in `deadline_passed`.
            local_only: Never score these texts elsewhere than on the worker's machine.

        Raises:
            InvalidInput: Nothing was sent; the message says which text breaks which limit.
            QueueFull, RedisFull: There is no room; come back after `retry_after_s`.
            BrokerUnavailable: Nobody accepted the job, within 5 seconds.
        """
        keys = None if key is None else [key]
        return self.submit_many(
            [texts], bulk=bulk, keys=keys, deadline=deadline, local_only=local_only
        )[0]

    def submit_many(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = False,
        keys: Iterable[str] | None = None,
        deadline: float | None = None,
        local_only: bool = False,
    ) -> list[Job]:
        """Send many jobs, hundreds in a round trip. Returns their handles, in the same order.

        All are checked before the first is sent.

        Args:
            jobs: What `submit` takes, for each job.
            keys: A key for each job, in the same order.
            bulk, deadline, local_only: As for `submit`, for all of them.

        Raises:
            InvalidInput: Nothing was sent; the message says which text breaks which limit.
            QueueFull, RedisFull, BrokerUnavailable: Nobody accepted the jobs, or the rest of
                them: `accepted` holds the ids of those that were.
        """
        checked = [self._checked(texts) for texts in jobs]
        wishes = SendOptions(_checked_keys(keys, len(checked)), _checked_s(deadline), local_only)
        ids = self._sender.send(checked, queue=self._queue(bulk=bulk), wishes=wishes)
        return [Job(job_id, self._results) for job_id in ids]

    def results(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> Iterator[JobOutcome | JobError]:
        """Wait for the outcomes of many jobs, in the order given, hundreds in a round trip.

        A job that has no outcome does not stop the others: its error takes its place.

        Args:
            jobs: Handles of jobs, sent by whomever.
            timeout: Seconds to wait for each job at most; None waits until it ends.

        Raises:
            ResultsUnavailable: Redis cannot be reached. The jobs are not affected.
        """
        reader = OrderedResults(self._results, timeout_s=timeout)
        ids = [job.id for job in jobs]
        for job_id in ids:
            reader.expect(job_id)
        for _ in ids:
            try:
                yield reader.take()
            except JobError as error:
                yield error

    def job(self, job_id: str) -> Job:
        """A handle for a job that was sent elsewhere, by its id."""
        return Job(job_id, self._results)

    def map(
        self,
        texts: Iterable[str],
        *,
        texts_per_job: int = _MAP_TEXTS_PER_JOB,
        jobs_in_flight: int = _MAP_JOBS_IN_FLIGHT,
        timeout: float | None = None,
        local_only: bool = False,
    ) -> Iterator[Outcome]:
        """Score any number of texts, in order, holding only what is in flight. Where a queue is
        full, it waits for room.

        A text that breaks the contract is not sent and does not stop the others: its outcome
        is a `TextError` in its place.

        Args:
            texts: Read as far ahead as `texts_per_job * jobs_in_flight`, no further.
            texts_per_job: The largest job to make.
            jobs_in_flight: How many jobs may be sent and not yet answered.
            timeout: Seconds to wait for each job at most, and for room to send it.
            local_only: As for `submit`.

        Raises:
            What `submit` raises for the broker and `Job.result` for an outcome.
        """
        reader = OrderedResults(self._results, timeout_s=timeout)
        queue, wishes = self._queue(bulk=True), SendOptions(local_only=local_only)

        def send(job: Sequence[str]) -> None:
            (job_id,) = wait_for_capacity(
                lambda: self._sender.send([job], queue=queue, wishes=wishes), timeout_s=timeout
            )
            reader.expect(job_id)

        return stream(
            texts,
            limits=self._limits,
            texts_per_job=min(texts_per_job, self._settings.texts_per_job),
            jobs_in_flight=jobs_in_flight,
            send=send,
            receive=reader.take,
        )

    @property
    def dead(self) -> DeadLetters:
        """The messages that nobody could handle."""
        return DeadLetters(self._results, self._settings)

    def service_status(self) -> ServiceStatus:
        """What waits, what is in hand, and who works.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        return read_status(self._app, self._settings)

    def _checked(self, texts: str | Sequence[str]) -> Sequence[str]:
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, (list, tuple)):
            raise NotAString(f"a job is a text or a list of texts, not {type(texts).__name__}")
        check_job(texts, self._limits)
        return texts

    def _queue(self, *, bulk: bool) -> str:
        return self._settings.bulk_queue if bulk else self._settings.queue

    def close(self) -> None:
        """Close the connections. Jobs go on; the client may even be used again."""
        self._app.close()
        self._app.backend.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _checked_keys(keys: Iterable[str] | None, count: int) -> Sequence[str]:
    if keys is None:
        return ()
    checked = list(keys)
    if len(checked) != count:
        raise InvalidInput(f"{len(checked)} keys for {count} jobs: there must be one for each")
    if not all(key and isinstance(key, str) for key in checked):
        raise InvalidInput("a key must be a string that is not empty")
    return checked


def _checked_s(deadline: float | None) -> float | None:
    if deadline is not None and not 0 < deadline < _LONGEST_DEADLINE_S:
        raise InvalidInput("a deadline must be a positive number of seconds, less than a year")
    return deadline
