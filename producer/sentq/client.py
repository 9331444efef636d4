"""The client: submit texts, read outcomes, stream a large collection through the workers.

client = Client()
job = client.submit(["What a day!", "I want my money back."])
job.result(timeout=10).outcomes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sentq.admin.dead import DeadLetters
from sentq.admin.functions import load_into_redis
from sentq.admin.history import read_history
from sentq.admin.models import ModelRolls
from sentq.admin.status import ServiceStatus, read_status
from sentq.batch import Batch
from sentq.contract import Detail, JobOutcome, Outcome, check_timeout
from sentq.errors import JobError
from sentq.job import Job, id_of
from sentq.results.backlog import Backlog
from sentq.results.batch import check_batch_id
from sentq.results.completed import completed_jobs
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader
from sentq.sending.arguments import several
from sentq.sending.callback import ThenArgument
from sentq.sending.submitter import MAP_JOBS_IN_FLIGHT, MAP_TEXTS_PER_JOB, Submitter
from sentq.settings import Settings
from sentq.stream import stream
from sentq.wire.history.reading import HistorySlot
from sentq.wire.ids import new_job_ids

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Client", "Job"]


class Client:
    """Sends texts to sentq workers. Thread-safe; open one in each process.

    Args:
        settings: As loaded by `Settings.load`; None reads environment and file.
        overrides: Single settings, such as `broker_url="redis://…"`, that override the others.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """

    def __init__(self, settings: Settings | None = None, **overrides: object) -> None:
        self._settings = Settings.load_over(settings, **overrides)
        self._results = ResultReader.open(self._settings)
        self._submitter = Submitter(self._settings, self._results)

    def submit(
        self,
        texts: str | Sequence[str],
        *,
        bulk: bool = False,
        key: str | None = None,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        then: object = None,
        then_argument: ThenArgument = "id",
        model: str | None = None,
    ) -> Job:
        """Send one job and return at once.

        Args:
            texts: One text, or up to 256 of them.
            bulk: Use the bulk queue. Workers take from it only while no single job waits.
            key: An idempotency key: it makes a repetition safe. As long as outcomes are kept, each
                submission of these texts under the same key returns the job that was sent first,
                also with another `bulk`, `deadline`, `delay` or `at`.
            deadline: Seconds from now after which the outcome is not needed. Texts that were not
                scored by then get the error `deadline_passed`.
            local_only: Score these texts only on the worker's machine.
            detail: Also score the sentences or the paragraphs of each text on their own, as
                `parts` of its outcome, and tell whether it is `mixed`. Such a job has at most 64
                texts, and takes about twice as long. With "windows", the parts are those in which
                the model reads a long text, and it takes no longer.
            delay: Seconds from now until the job is due. It waits in Redis until then, however long
                no worker runs, and is then sent to the end of its queue. Its outcome is kept for as
                long as any other. A deadline must be later.
            at: The time at which the job is due, with a time zone, in place of `delay`. A time that
                has passed means at once. Redis' clock tells.
            then: A signature of Celery, which a worker publishes once when the job is done or has
                failed, in the step that stores the outcome. The workers' `follow_tasks` and
                `follow_queues` apply to it.
            then_argument: What `then` gets as its first argument, unless it is immutable: the id of
                the job ("id"), or a dict with `job_id`, `outcome` and `error` ("outcome").
            model: The name of the model that scores the job, of those that the workers' settings
                name (`worker.models`); "main" for the model of `worker.model`, also for texts
                in other languages. By default a worker chooses: with `on_other_language = "route"`
                by the language of each text. If the worker has no such model, the texts get the
                error `unknown_model`, which names those that it has.

        Raises:
            InvalidInput: Nothing was sent; the message says which text breaks which limit.
            EtaTooFar: The job is due later than `max_eta_s` permits.
            SettingsError: `then` needs messages and results in one database of one Redis.
            KeyConflict: The key belongs to a job with other texts, or with another `local_only`,
                `detail` or `model`.
            QueueFull, RedisFull: There is no capacity. Try again after `retry_after_s`.
            BrokerUnavailable: The broker did not accept the job within 5 seconds.
        """
        keys = None if key is None else [key]
        return self.submit_many(
            [texts],
            bulk=bulk,
            keys=keys,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            delay=delay,
            at=at,
            then=then,
            then_argument=then_argument,
            model=model,
        )[0]

    def submit_many(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = False,
        keys: Iterable[str] | None = None,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        then: object = None,
        then_argument: ThenArgument = "id",
        model: str | None = None,
    ) -> list[Job]:
        """Send many jobs, hundreds in a round trip. Return their handles in the same order.

        All jobs are checked before the first one is sent.

        Args:
            jobs: The texts of each job, as `submit` takes them.
            keys: An idempotency key for each job, in the same order.
            bulk, deadline, local_only, detail, delay, at, then_argument, model: As for `submit`,
                for all jobs.
            then: As for `submit`; it is published for each job.

        Raises:
            InvalidInput, EtaTooFar, SettingsError: Nothing was sent, as for `submit`.
            KeyConflict, QueueFull, RedisFull, BrokerUnavailable: Not all jobs were accepted.
                `accepted` holds the ids of those that were.
        """
        steps = self._submitter.submit_steps(
            jobs,
            bulk=bulk,
            keys=keys,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            delay=delay,
            at=at,
            then=then,
            then_argument=then_argument,
            model=model,
        )
        return [Job(job_id, self._results) for job_id in self._results.run(steps)]

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
        ids = [id_of(job) for job in several(jobs, "results", "jobs or job ids")]
        for job_id in ids:
            reader.expect(job_id)
        return (reader.ended_already() or self._results.run(reader.end_steps()) for _ in ids)

    def job(self, job_id: str) -> Job:
        """Return the handle of a job by its id, also of one that another process sent.

        Raises:
            InvalidInput: The id is no string.
        """
        return Job(id_of(job_id), self._results)

    def as_completed(
        self, jobs: Iterable[Job | str], *, timeout: float | None = None
    ) -> Iterator[tuple[Job, JobOutcome | JobError]]:
        """Yield each job with its outcome, or with its error, in the order in which they end.

        Args:
            jobs: Handles or ids of jobs of any sender.
            timeout: Seconds to wait for the next one at most; None waits until one ends.

        Raises:
            InvalidInput: `jobs` holds something else, or `timeout` is no number.
            WaitTimeout: No job ended in time. The jobs are not affected.
            ResultsUnavailable: Redis is not available. The jobs are not affected.
        """
        ids = [id_of(job) for job in several(jobs, "as_completed", "jobs or job ids")]
        ended = completed_jobs(self._results, ids, timeout_s=check_timeout(timeout))
        return ((Job(job_id, self._results), outcome) for job_id, outcome in ended)

    def batch(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = True,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        then: object = None,
        timeout: float | None = None,
        model: str | None = None,
    ) -> Batch:
        """Send any number of jobs, up to a million, as one batch; return when all are sent.

        Of a list, all jobs are checked before the first one is sent. Other iterables are read,
        checked and sent in steps of 500.

        Args:
            jobs: The texts of each job, as `submit` takes them.
            bulk: Use the bulk queue. Workers take from it only while no single job waits.
            deadline, local_only, detail, model: As for `submit`, for all jobs.
            then: A signature of Celery, which a worker publishes once when all jobs have ended. Its
                first argument is the id of the batch, unless it is immutable. The workers'
                `follow_tasks` and `follow_queues` apply to it.
            timeout: Seconds to wait for capacity, each time the queue is full; None waits without
                end.

        Raises:
            InvalidInput: A job breaks a limit, or an argument is wrong.
            Overloaded, BrokerUnavailable: As for `submit`.
            If the batch was opened, the error has its `batch_id`: it stays open, with the jobs that
            were sent, and `batch_by_id` adds the others, closes it, or cancels it.
        """
        checked = self._submitter.checked_jobs(jobs, "batch", detail)
        sender = self._submitter.batch_sender(
            bulk=bulk,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            timeout=timeout,
            model=model,
        )
        batch = self.open_batch(then=then)
        self._results.run(sender.add_steps(batch.id, checked, first=0, closes=True))
        return batch

    def open_batch(self, *, then: object = None) -> Batch:
        """Open a batch without jobs. `Batch.add` adds jobs to it, `Batch.close` says that it has
        all of them.

        Args:
            then: As for `batch`.

        Raises:
            InvalidInput: `then` is not the signature of a task.
            SettingsError: `then` needs messages and results in one database of one Redis.
            BrokerUnavailable, RedisFull: Redis did not accept the batch.
        """
        (batch_id,) = new_job_ids(1)
        self._results.run(self._submitter.open_batch_steps(batch_id, then))
        return self.batch_by_id(batch_id)

    def batch_by_id(self, batch_id: str) -> Batch:
        """Return the handle of a batch by its id, also of one that another process sent.

        Raises:
            InvalidInput: The id has not the form of one.
        """
        return Batch(
            check_batch_id(batch_id),
            self._results,
            add=self._add_to_batch,
            close=self._close_batch,
        )

    def map(
        self,
        texts: Iterable[str],
        *,
        texts_per_job: int = MAP_TEXTS_PER_JOB,
        jobs_in_flight: int = MAP_JOBS_IN_FLIGHT,
        timeout: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        key: str | None = None,
        isolate: bool = False,
        on_job: Callable[[JobOutcome], object] | None = None,
        model: str | None = None,
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
            local_only, detail: As for `submit`.
            key: An idempotency key of all texts: a repetition after an interruption sends only
                the jobs that are missing. Texts, order and `texts_per_job` must be the same.
            isolate: Send the texts of a job that fails as a whole again, each in a job of its own.
                A text whose job fails again has the outcome `inference_failed`, or
                `text_too_long` if it has too many tokens. Not together with `key`.
            on_job: Called with the `JobOutcome` of each job, which names its model, before the
                outcomes of its texts are yielded.
            model: As for `submit`.

        Raises:
            InvalidInput: An argument is wrong, such as one text in place of several.
            KeyConflict: The key belongs to other texts.
            Overloaded, BrokerUnavailable: As `submit` does.
            JobError, ResultsUnavailable: As `Job.result` does.
        """
        checked = several(texts, "map", "texts")
        window = self._submitter.window(
            texts_per_job=texts_per_job,
            jobs_in_flight=jobs_in_flight,
            timeout=timeout,
            local_only=local_only,
            detail=detail,
            key=key,
            isolate=isolate,
            on_job=on_job,
            model=model,
        )
        return stream(checked, window, self._results.run)

    @property
    def dead(self) -> DeadLetters:
        """The dead letters: messages that no worker can process."""
        return DeadLetters(self._results, self._settings)

    @property
    def models(self) -> ModelRolls:
        """The models of running workers: roll another one, promote it, roll it back."""
        return ModelRolls(self._app)

    def service_status(self) -> ServiceStatus:
        """Return the status of the service: the backlog, how long it takes, and workers.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        return read_status(self._app, self._settings)

    def service_history(self) -> list[HistorySlot]:
        """Return what all workers completed in the last hour, in slots of 15 s, the oldest first.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        return read_history(self._app)

    def backlog(self) -> Backlog:
        """Return how many jobs wait in the queues, how many for their time, and the reports of the
        workers that read the queues.

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

    @property
    def _app(self) -> Celery:
        return self._results.app

    def _add_to_batch(
        self,
        batch_id: str,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool,
        deadline: float | None,
        local_only: bool,
        detail: Detail | None,
        timeout: float | None,
        model: str | None,
    ) -> int:
        sender = self._submitter.batch_sender(
            bulk=bulk,
            deadline=deadline,
            local_only=local_only,
            detail=detail,
            timeout=timeout,
            model=model,
        )
        checked = self._submitter.checked_jobs(jobs, "add", detail)
        return self._results.run(sender.add_steps(batch_id, checked))

    def _close_batch(self, batch_id: str) -> None:
        self._results.run(self._submitter.close_batch_steps(batch_id))

    def close(self) -> None:
        """Close the connections. Jobs are not affected, and the client may be used again."""
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
