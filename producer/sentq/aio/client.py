"""The client for asyncio: submit texts, await outcomes, stream a collection through the workers.

async with AsyncClient() as client:
    job = await client.submit(["What a day!", "I want my money back."])
    (await job.result(timeout=10)).outcomes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Self

from sentq.admin.functions import load_into_redis
from sentq.admin.history import service_history_steps
from sentq.admin.status import ServiceStatus, service_status_steps
from sentq.aio.batch import AsyncBatch
from sentq.aio.completed import completed_jobs
from sentq.aio.dead import AsyncDeadLetters
from sentq.aio.driver import Drivers
from sentq.aio.job import AsyncJob
from sentq.contract import Detail, JobOutcome, Outcome, check_timeout
from sentq.errors import JobError
from sentq.job import JobHandle, id_of
from sentq.results.backlog import Backlog
from sentq.results.batch import check_batch_id
from sentq.results.ordered import OrderedResults
from sentq.results.reader import ResultReader
from sentq.sending.arguments import several
from sentq.sending.callback import ThenArgument
from sentq.sending.submitter import MAP_JOBS_IN_FLIGHT, MAP_TEXTS_PER_JOB, Submitter
from sentq.settings import Settings
from sentq.stream import JobWindow
from sentq.wire.history.reading import HistorySlot
from sentq.wire.ids import new_job_ids

__all__ = ["AsyncClient"]


class AsyncClient:
    """Sends texts to sentq workers, and awaits outcomes. The names and promises are `Client`'s.

    Open one in each process. Any number of tasks may use it, in any number of event loops and
    threads. In each loop it has two connections to Redis: one for all commands, one for all that
    wait for outcomes. They are opened when they are first needed. What only Celery can do, such as
    to publish to another broker than Redis, is done in one thread, on connections of Celery's.

    A task may be cancelled at any time. Then a call may have been sent or not, such as that of
    `submit`; with a `key` it can be repeated.

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
        # Celery's modules are imported here, so that this does not delay an event loop later.
        self._submitter.prepare()
        self._drivers = Drivers(self._results)

    async def submit(
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
    ) -> AsyncJob:
        """Send one job, and return when Redis has accepted it.

        Args:
            texts, bulk, key, deadline, local_only, detail, delay, at, then, then_argument, model:
                As for `Client.submit`.

        Raises:
            InvalidInput, EtaTooFar, SettingsError, KeyConflict, QueueFull, RedisFull,
                BrokerUnavailable: As `Client.submit` does.
        """
        keys = None if key is None else [key]
        (job,) = await self.submit_many(
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
        )
        return job

    async def submit_many(
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
    ) -> list[AsyncJob]:
        """Send many jobs, hundreds in a round trip. Return their handles in the same order.

        All jobs are checked before the first one is sent.

        Args:
            jobs, bulk, keys, deadline, local_only, detail, delay, at, then, then_argument, model:
                As for `Client.submit_many`.

        Raises:
            InvalidInput, EtaTooFar, SettingsError, KeyConflict, QueueFull, RedisFull,
                BrokerUnavailable: As `Client.submit_many` does.
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
        return [self.job(job_id) for job_id in await self._drivers.current().run(steps)]

    def results(
        self,
        jobs: Iterable[JobHandle | str],
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[JobOutcome | JobError, None]:
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
        return self._received(reader, len(ids))

    async def _received(
        self, reader: OrderedResults, jobs: int
    ) -> AsyncGenerator[JobOutcome | JobError, None]:
        for _ in range(jobs):
            ended = reader.ended_already()
            if ended is None:
                ended = await self._drivers.current().run(reader.end_steps())
            yield ended

    def job(self, job_id: str) -> AsyncJob:
        """Return the handle of a job by its id, also of one that another process sent.

        Raises:
            InvalidInput: The id is no string.
        """
        return AsyncJob(id_of(job_id), self._results, self._drivers)

    def as_completed(
        self, jobs: Iterable[JobHandle | str], *, timeout: float | None = None
    ) -> AsyncGenerator[tuple[AsyncJob, JobOutcome | JobError], None]:
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
        return self._completed(ids, check_timeout(timeout))

    async def _completed(
        self, ids: Sequence[str], timeout_s: float | None
    ) -> AsyncGenerator[tuple[AsyncJob, JobOutcome | JobError], None]:
        ended = completed_jobs(self._results, self._drivers, ids, timeout_s=timeout_s)
        async with aclosing(ended):
            async for job_id, outcome in ended:
                yield self.job(job_id), outcome

    async def batch(
        self,
        jobs: Iterable[str | Sequence[str]],
        *,
        bulk: bool = True,
        deadline: float | None = None,
        local_only: bool = False,
        detail: Detail | None = None,
        then: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in Client
        model: str | None = None,
    ) -> AsyncBatch:
        """Send any number of jobs, up to a million, as one batch; return when all are sent.

        Args:
            jobs: As for `Client.batch`. An iterable should not block: it is read in the event loop.
            bulk, deadline, local_only, detail, then, timeout, model: As for `Client.batch`.

        Raises:
            InvalidInput, Overloaded, BrokerUnavailable: As `Client.batch` does.
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
        batch = await self.open_batch(then=then)
        steps = sender.add_steps(batch.id, checked, first=0, closes=True)
        await self._drivers.current().run(steps)
        return batch

    async def open_batch(self, *, then: object = None) -> AsyncBatch:
        """Open a batch without jobs. `AsyncBatch.add` adds jobs to it, `AsyncBatch.close` says that
        it has all of them.

        Args:
            then: As for `Client.batch`.

        Raises:
            InvalidInput, SettingsError, BrokerUnavailable, RedisFull: As `Client.open_batch` does.
        """
        (batch_id,) = new_job_ids(1)
        await self._drivers.current().run(self._submitter.open_batch_steps(batch_id, then))
        return self.batch_by_id(batch_id)

    def batch_by_id(self, batch_id: str) -> AsyncBatch:
        """Return the handle of a batch by its id, also of one that another process sent.

        Raises:
            InvalidInput: The id has not the form of one.
        """
        return AsyncBatch(check_batch_id(batch_id), self._results, self._submitter, self._drivers)

    def map(
        self,
        texts: Iterable[str] | AsyncIterable[str],
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
    ) -> AsyncGenerator[Outcome, None]:
        """Score any number of texts in order; yield an outcome for each.

        Memory is bounded by the jobs in flight. If the queue is full, it waits for capacity. A text
        that breaks the contract is not sent and does not stop the others: a `TextError` takes the
        place of its outcome.

        Args:
            texts: The texts, also from an asynchronous iterable. At most `texts_per_job *
                jobs_in_flight` are read ahead. An ordinary iterable should not block: it is read
                in the event loop.
            texts_per_job, jobs_in_flight, timeout, local_only, detail, key, isolate, on_job, model:
                As for `Client.map`.

        Raises:
            InvalidInput: An argument is wrong, such as one text in place of several.
            KeyConflict: The key belongs to other texts.
            Overloaded, BrokerUnavailable: As `submit` does.
            JobError, ResultsUnavailable: As `AsyncJob.result` does.
        """
        source: AsyncIterable[object]
        if isinstance(texts, AsyncIterable):
            source = texts
        else:
            source = _each(several(texts, "map", "texts"))
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
        return self._stream(source, window)

    async def _stream(
        self, texts: AsyncIterable[object], window: JobWindow
    ) -> AsyncGenerator[Outcome, None]:
        async for text in texts:
            if part := window.add(text):
                for outcome in await self._drivers.current().run(window.send_steps(part)):
                    yield outcome
        if part := window.rest():
            for outcome in await self._drivers.current().run(window.send_steps(part)):
                yield outcome
        while not window.is_empty:
            for outcome in await self._drivers.current().run(window.receive_steps()):
                yield outcome

    @property
    def dead(self) -> AsyncDeadLetters:
        """The dead letters: messages that no worker can process."""
        return AsyncDeadLetters(self._results, self._settings, self._drivers)

    async def service_status(self) -> ServiceStatus:
        """Return the status of the service: the backlog, how long it takes, and workers.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        steps = partial(service_status_steps, settings=self._settings)
        return await self._drivers.current().run_on_broker(steps)

    async def service_history(self) -> list[HistorySlot]:
        """Return what all workers completed in the last hour, in slots of 15 s, the oldest first.

        Raises:
            BrokerUnavailable: Redis did not answer.
            SettingsError: The broker is not Redis.
        """
        return await self._drivers.current().run_on_broker(service_history_steps)

    async def backlog(self) -> Backlog:
        """Return how many jobs wait in the queues, how many for their time, and the reports of the
        workers that read the queues.

        It needs the rights of a sender only, and takes two round trips.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        return await self._drivers.current().backlog()

    async def load_functions(self) -> None:
        """Load the functions that clients of this version call into Redis, which keeps them.

        It needs the rights of an administrator. Workers do the same as they start.

        Raises:
            BrokerUnavailable, ResultsUnavailable: Redis did not answer, is older than 7, or the
                user may not.
        """
        await self._drivers.in_thread(partial(load_into_redis, self._results.app, self._settings))

    async def aclose(self) -> None:
        """Close the connections, in all event loops that run. Callers that still wait get
        `ResultsUnavailable`. Jobs are not affected, and the client may be used again."""
        await self._drivers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


async def _each(texts: Iterable[object]) -> AsyncGenerator[object, None]:
    """Yield texts of an ordinary iterable; let other tasks run after every hundred."""
    for number, text in enumerate(texts):
        if number % 100 == 99:  # noqa: PLR2004
            await asyncio.sleep(0)
        yield text
