"""The client: submit texts, read outcomes, stream a large collection through the workers.

client = Client()
job = client.submit(["What a day!", "I want my money back."])
job.result(timeout=10).outcomes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from types import TracebackType
from typing import Final, Self, TypeVar

from sentq.admin.dead import DeadLetters
from sentq.admin.functions import load_into_redis
from sentq.admin.status import ServiceStatus, read_status
from sentq.connection.app import close_app, make_app
from sentq.contract import JobOutcome, Outcome, check_job, check_timeout, is_number
from sentq.errors import InvalidInput, JobError, NotAString
from sentq.job import Job
from sentq.results.backlog import Backlog
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader
from sentq.sending.capacity import wait_for_capacity
from sentq.sending.limits import QueueLimits
from sentq.sending.sender import Sender, SendOptions
from sentq.settings import Settings
from sentq.stream import stream
from sentq.wire.sealing import load_keyring

__all__ = ["Client", "Job"]

#: How `map` cuts a stream into jobs, and how many of them it keeps in flight.
_MAP_TEXTS_PER_JOB: Final = 64
_MAP_JOBS_IN_FLIGHT: Final = 32

_T = TypeVar("_T")

_LONGEST_DEADLINE_S: Final = 365 * 24 * 60 * 60


class Client:
    """Sends texts to sentq workers. Thread-safe; open one in each process.

    Args:
        settings: As loaded by `Settings.load`; None reads environment and file.
        overrides: Single settings, such as `broker_url="redis://…"`, that override the others.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """

    def __init__(self, settings: Settings | None = None, **overrides: object) -> None:
        if settings is None or overrides:
            base = {} if settings is None else settings.model_dump(exclude_unset=True)
            settings = Settings.load(**(base | overrides))
        self._settings = settings
        self._limits = settings.sender_limits
        keyring = load_keyring(settings)
        self._app = make_app(settings, has_own_pool=True)
        self._results = ResultReader(
            self._app,
            ttl_s=settings.result_ttl_s,
            keyring=keyring,
            is_single_redis=settings.is_single_redis,
        )
        limits = QueueLimits(settings.max_queued_jobs, settings.max_queued_bytes)
        self._sender = Sender(
            self._app,
            self._results,
            is_single_redis=settings.is_single_redis,
            limits=limits,
            keyring=keyring,
            key_namespace=settings.key_namespace,
        )

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
            bulk: Use the bulk queue. Workers take from it only while no single job waits.
            key: An idempotency key: it makes a repetition safe. As long as outcomes are kept, each
                submission of these texts under the same key returns the job that was sent first,
                also with another `bulk` or `deadline`.
            deadline: Seconds from now after which the outcome is not needed. Texts that were not
                scored by then get the error `deadline_passed`.
            local_only: Score these texts only on the worker's machine.

        Raises:
            InvalidInput: Nothing was sent; the message says which text breaks which limit.
            KeyConflict: The key belongs to a job with other texts, or with another `local_only`.
            QueueFull, RedisFull: There is no capacity. Try again after `retry_after_s`.
            BrokerUnavailable: The broker did not accept the job within 5 seconds.
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
        """Send many jobs, hundreds in a round trip. Return their handles in the same order.

        All jobs are checked before the first one is sent.

        Args:
            jobs: The texts of each job, as `submit` takes them.
            keys: An idempotency key for each job, in the same order.
            bulk, deadline, local_only: As for `submit`, for all jobs.

        Raises:
            InvalidInput: Nothing was sent; the message says which text breaks which limit.
            KeyConflict, QueueFull, RedisFull, BrokerUnavailable: Not all jobs were accepted.
                `accepted` holds the ids of those that were.
        """
        checked = [self._checked(texts) for texts in _several(jobs, "submit_many", "jobs")]
        options = SendOptions(_checked_keys(keys, len(checked)), _checked_s(deadline), local_only)
        ids = self._sender.send(checked, queue=self._queue(bulk=bulk), options=options)
        return [Job(job_id, self._results) for job_id in ids]

    def results(
        self, jobs: Iterable[Job | str], *, timeout: float | None = None
    ) -> Iterator[JobOutcome | JobError]:
        """Wait for the outcomes of many jobs, in the order given, hundreds in a round trip.

        A job without an outcome does not stop the others: its error takes its place.

        Args:
            jobs: Handles or ids of jobs of any sender.
            timeout: Seconds to wait for each job at most; None waits until it ends.

        Raises:
            InvalidInput: `jobs` holds something else, or `timeout` is no number.
            ResultsUnavailable: Redis is not available. The jobs are not affected.
        """
        reader = OrderedResults(self._results, timeout_s=check_timeout(timeout))
        ids = [_id_of(job) for job in _several(jobs, "results", "jobs or job ids")]
        for job_id in ids:
            reader.expect(job_id)
        return _received(reader, len(ids))

    def job(self, job_id: str) -> Job:
        """Return the handle of a job by its id, also of one that another process sent.

        Raises:
            InvalidInput: The id is no string.
        """
        return Job(_id_of(job_id), self._results)

    def map(
        self,
        texts: Iterable[str],
        *,
        texts_per_job: int = _MAP_TEXTS_PER_JOB,
        jobs_in_flight: int = _MAP_JOBS_IN_FLIGHT,
        timeout: float | None = None,
        local_only: bool = False,
        key: str | None = None,
    ) -> Iterator[Outcome]:
        """Score any number of texts in order; yield an outcome for each.

        Memory is bounded by the jobs in flight. If the queue is full, it waits for capacity. A text
        that breaks the contract is not sent and does not stop the others: a `TextError` takes the
        place of its outcome.

        Args:
            texts: The texts. At most `texts_per_job * jobs_in_flight` are read ahead.
            texts_per_job: The largest number of texts in a job.
            jobs_in_flight: How many jobs may be sent and not yet complete.
            timeout: Seconds to wait for each job at most, and for capacity to send it.
            local_only: As for `submit`.
            key: An idempotency key of all texts: a repetition after an interruption sends only
                the jobs that are missing. Texts, order and `texts_per_job` must be the same.

        Raises:
            InvalidInput: An argument is wrong, such as one text in place of several.
            KeyConflict: The key belongs to other texts.
            Overloaded, BrokerUnavailable: As `submit` does.
            JobError, ResultsUnavailable: As `Job.result` does.
        """
        several = _several(texts, "map", "texts")
        _check_counts(texts_per_job=texts_per_job, jobs_in_flight=jobs_in_flight)
        reader = OrderedResults(self._results, timeout_s=check_timeout(timeout))
        queue, options = self._queue(bulk=True), _options_of_parts(key, local_only=local_only)

        def send(job: Sequence[str]) -> None:
            of_part = next(options)
            (job_id,) = wait_for_capacity(
                lambda: self._sender.send([job], queue=queue, options=of_part), timeout_s=timeout
            )
            reader.expect(job_id)

        return stream(
            several,
            limits=self._limits,
            texts_per_job=min(texts_per_job, self._settings.texts_per_job),
            jobs_in_flight=jobs_in_flight,
            send=send,
            receive=reader.receive,
        )

    @property
    def dead(self) -> DeadLetters:
        """The dead letters: messages that no worker can process."""
        return DeadLetters(self._results, self._settings)

    def service_status(self) -> ServiceStatus:
        """Return the status of the service: queued jobs, jobs in flight, workers.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        return read_status(self._app, self._settings)

    def backlog(self) -> Backlog:
        """Return how many jobs wait in the queues, and the reports of the workers that read them.

        It needs the rights of a sender only, and takes two round trips.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        return self._results.backlog()

    def load_functions(self) -> None:
        """Load the functions that clients of this version call into Redis, which keeps them.

        It needs the rights of an administrator. Workers do the same as they start.

        Raises:
            BrokerUnavailable, ResultsUnavailable: Redis did not answer, is older than 7, or the
                user may not.
        """
        load_into_redis(self._app, self._settings)

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
        """Close the connections. Jobs are not affected, and the client may be used again."""
        close_app(self._app)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _several(values: Iterable[_T], call: str, what: str) -> Iterable[_T]:
    """Return the values, unless they are one string: its characters would be taken for them."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidInput(
            f"{call} takes several {what}, such as a list, not {type(values).__name__}; "
            "put a single one into a list"
        )
    return values


def _id_of(job: object) -> str:
    found = job.id if isinstance(job, Job) else job
    if not isinstance(found, str):
        raise InvalidInput(f"a job is a Job or the id of one, not {type(found).__name__}")
    return found


def _received(reader: OrderedResults, jobs: int) -> Iterator[JobOutcome | JobError]:
    for _ in range(jobs):
        try:
            yield reader.receive()
        except JobError as error:
            yield error


def _check_counts(**counts: object) -> None:
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise InvalidInput(f"{name} must be a whole number of at least 1")


def _checked_keys(keys: Iterable[str] | None, jobs: int) -> Sequence[str]:
    if keys is None:
        return ()
    checked = list(_several(keys, "submit_many", "keys"))
    if len(checked) != jobs:
        raise InvalidInput(f"{len(checked)} keys for {jobs} jobs: there must be one for each")
    if not all(key and isinstance(key, str) for key in checked):
        raise InvalidInput("a key must be a string that is not empty")
    return checked


def _options_of_parts(key: str | None, *, local_only: bool) -> Iterator[SendOptions]:
    """Return the options of the jobs of a stream, one after the other, each with a key of its own
    if the stream has one."""
    if key is None:
        return repeat(SendOptions(local_only=local_only))
    (checked,) = _checked_keys([key], 1)
    return (SendOptions([f"{checked}\0{part}"], local_only=local_only) for part in count())


def _checked_s(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    if not is_number(deadline) or not 0 < deadline < _LONGEST_DEADLINE_S:
        raise InvalidInput(
            "a deadline must be a positive number of seconds, less than a year"
            + ("" if is_number(deadline) else f", not {type(deadline).__name__}")
        )
    return deadline
