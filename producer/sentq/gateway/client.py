"""The client of a gateway: `AsyncClient`, and steps of the gateway's own on its connections."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Final, TypeVar

from sentq.aio import AsyncClient, AsyncJob
from sentq.connection.app import key_with_result_prefix
from sentq.contract import Detail, JobOutcome, JobStatus, Limits
from sentq.errors import BrokerUnavailable, JobError, SettingsError
from sentq.gateway.errors import RequestInProgress
from sentq.results.batch_outcomes import BatchReader
from sentq.results.steps import Listen, Subscribe
from sentq.sending.batch import PlaceTaken
from sentq.settings import Settings
from sentq.wire.steps import Deadline, Request, Steps

__all__ = ["GatewayClient"]

T = TypeVar("T")

#: How long a follower of a job waits for a notice before it reads the status again, in seconds: a
#: half-open connection delivers nothing.
_POLL_INTERVAL_S: Final = 4.0

#: For how long an estimate of the wait is given to all requests, in seconds.
_ESTIMATE_VALID_S: Final = 1.0

#: How many outcomes a download reads ahead. Clients may read slowly, and many at a time: with 256
#: texts each, these are some 10 MB.
_DOWNLOAD_JOBS: Final = 32

#: The shortest and the longest time after which a client is told to ask again, in seconds.
_ASK_AGAIN_S: Final = (1, 60)


class GatewayClient(AsyncClient):
    """Sends the jobs of requests, and reads and writes what a gateway keeps in Redis.

    What a gateway keeps is in the Redis of the results, beside the outcomes.

    Args:
        settings: As for `AsyncClient`.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._ask_again_s = _ASK_AGAIN_S[0]
        self._estimated_at_s = float("-inf")

    @property
    def settings(self) -> Settings:
        """The settings shared with clients and workers."""
        return self._settings

    @property
    def limits(self) -> Limits:
        """The limits of a job."""
        return self._settings.sender_limits

    @property
    def kept_s(self) -> int:
        """How long a gateway keeps what it knows of a request, in seconds: twice as long as an
        outcome, which is kept from the end of its job on."""
        return 2 * self._settings.result_ttl_s

    def key(self, name: str) -> bytes:
        """Return the key of this name in the Redis of the results."""
        return key_with_result_prefix(self._results.app, name)

    async def run(self, steps: Steps[T]) -> T:
        """Run steps in the Redis of the results, on the connections of the client.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused.
        """
        return await self._drivers.current().run(steps)

    async def ask(self, request: Request) -> Any:
        """Send one command, `RoundTrip` or `ScriptCall` to the Redis of the results; return the
        reply.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused.
        """

        def steps() -> Steps[Any]:
            return (yield request)

        return await self.run(steps())

    async def look(self, job: AsyncJob) -> JobOutcome | JobStatus:
        """Return the outcome of a job, or its status if it has not ended.

        Raises:
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            JobCancelled, JobFailed: It has ended without an outcome.
            ResultsUnavailable: Redis did not answer, or refused.
        """
        return await self.run(self._results.look_steps(job.id))

    async def next_status(self, job: AsyncJob, known: JobStatus, timeout_s: float) -> JobStatus:
        """Wait until a job has another status than the known one, or time has passed; return its
        status.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused.
        """
        results, deadline = self._results, Deadline(timeout_s)

        def steps() -> Steps[JobStatus]:
            yield Subscribe(results.key(job.id))
            while True:
                status = yield from results.status_steps(job.id)
                if status is not known or deadline.has_passed:
                    return status
                # What a worker publishes is the document: it is read, because it may be one of an
                # attempt that was replaced.
                yield Listen(min(_POLL_INTERVAL_S, deadline.remaining_s))

        return await self.run(steps())

    async def open_batch_as(self, batch_id: str, then: object = None) -> int:
        """Open a batch with this id, unless there is one; return how many jobs it has.

        Args:
            batch_id: The id.
            then: Its callback, as for `open_batch`.

        Raises:
            BrokerUnavailable, RedisFull, ResultsUnavailable: Redis did not accept it.
        """
        await self.run(self._submitter.open_batch_steps(batch_id, then))
        return (await self.batch_by_id(batch_id).progress()).total

    async def add_to_batch(
        self,
        batch_id: str,
        jobs: Iterable[Sequence[str]],
        first: int,
        *,
        local_only: bool,
        detail: Detail | None = None,
        timeout_s: float,
        model: str | None = None,
    ) -> None:
        """Add jobs of checked texts to a batch that has so many jobs.

        Args:
            batch_id: The batch.
            jobs: The texts of each job.
            first: How many jobs the batch has. A step whose reply was lost may be repeated.
            local_only: Whether the texts must not be sent to the Hugging Face Hub.
            detail: Which parts of the texts are scored on their own, too.
            timeout_s: How long to wait for capacity of the queue, in seconds.
            model: The name of the model that scores the texts; None lets workers choose.

        Raises:
            RequestInProgress: The batch has other jobs: another upload adds to it.
            BatchClosed, BatchTooLarge, UnknownBatch: The batch takes no more jobs.
            Overloaded, BrokerUnavailable: There was no capacity in time, or no Redis.
        """
        sender = self._submitter.batch_sender(
            bulk=True,
            deadline=None,
            local_only=local_only,
            detail=detail,
            timeout=timeout_s,
            model=model,
        )
        try:
            await self.run(sender.add_steps(batch_id, jobs, first=first, is_exact=True))
        except PlaceTaken:
            raise RequestInProgress(
                "another upload adds to the same batch", retry_after_s=1
            ) from None

    async def batch_outcomes(
        self, batch_id: str, first: int
    ) -> AsyncGenerator[JobOutcome | JobError, None]:
        """Yield the outcomes of the jobs of a batch from a place on, in their order. It waits for
        those that have not ended.

        Raises:
            UnknownBatch, ResultsUnavailable: The batch is kept no longer, or Redis was away.
        """
        reader = BatchReader(
            self._results, batch_id, timeout_s=None, first=first, read_jobs=_DOWNLOAD_JOBS
        )
        while (outcome := await self.run(reader.ordered_steps())) is not None:
            yield outcome

    async def ask_again_s(self) -> int:
        """Return in how many seconds a job that is sent now has probably ended, by the backlog and
        the pace of the workers."""
        now_s = time.monotonic()
        if now_s - self._estimated_at_s >= _ESTIMATE_VALID_S:
            self._estimated_at_s = now_s
            try:
                wait_s = (await self.backlog()).wait_s or 0.0
            except (BrokerUnavailable, SettingsError):
                wait_s = 0.0  # No right to read it, or a broker other than Redis.
            least_s, most_s = _ASK_AGAIN_S
            self._ask_again_s = round(min(max(wait_s, least_s), most_s))
        return self._ask_again_s
