"""Read the outcomes of jobs, for callers that block.

The steps are those of `sentq.results.steps`. Each waiting caller has a connection for its
subscription, from the pool of Celery's result backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import redis

from sentq.connection.app import AppOfClient
from sentq.connection.blocking import perform
from sentq.connection.stand_in import StandInSubscription, stand_in
from sentq.contract import JobOutcome, JobStatus
from sentq.errors import JobError, ResultsUnavailable
from sentq.results.backlog import Backlog, read_backlog
from sentq.results.steps import Listen, ReadBacklog, ResultSteps, Subscribe, results_unavailable
from sentq.results.subscription import KeptSubscription, Subscriptions
from sentq.wire.lua import Script
from sentq.wire.scheduled import DueTime
from sentq.wire.sealing import load_keyring
from sentq.wire.steps import Deadline, Request, RoundTrip, ScriptCall, Steps, run_steps

if TYPE_CHECKING:
    from sentq.settings import Settings

__all__ = ["ResultReader"]

T = TypeVar("T")


class ResultReader(ResultSteps):
    """Reads the outcomes of jobs, which Redis keeps for `ttl_s` seconds. Thread-safe."""

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return a reader with an app, a connection pool and keys of its own.

        Raises:
            SettingsError: An option of TLS, a file or a key of the settings cannot be used.
        """
        return cls(
            AppOfClient(settings),
            ttl_s=settings.result_ttl_s,
            keyring=load_keyring(settings),
            is_single_redis=settings.is_single_redis,
        )

    def run(self, steps: Steps[T]) -> T:
        """Run steps of results, which may wait for a job, to their end.

        Raises:
            ResultsUnavailable: Redis refused a subscription.
        """
        subscription = _Subscription(self)
        try:
            return run_steps(steps, subscription.perform)
        except redis.RedisError as error:
            raise results_unavailable(error) from error
        finally:
            subscription.close()

    def mark_queued(self, job_id: str, due: DueTime | None = None) -> None:
        """Make a job known. Call it before the job is sent: its worker may be faster otherwise.

        Args:
            job_id: The job's id.
            due: When it is due; None if at once.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        self.run(self.mark_queued_steps(job_id, due))

    def forget(self, job_id: str) -> None:
        """Remove the job's document, if Redis is available."""
        try:
            self.command("DEL", self.key(job_id))
        except ResultsUnavailable:
            return  # It expires by itself.

    def status(self, job_id: str) -> JobStatus:
        """Return the status of the job.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return self.run(self.status_steps(job_id))

    def wait(self, job_id: str, *, timeout_s: float | None) -> JobOutcome:
        """Wait for the job's outcome.

        Raises:
            WaitTimeout: There was no outcome within `timeout_s` seconds.
            UnknownJob, JobExpired: Redis has no document of the job, or no longer.
            JobCancelled: The job was cancelled, or revoked by an operator.
            JobFailed: The job as a whole failed.
            ResultsUnavailable: Redis was not available for too long.
        """
        return self.run(self.wait_steps(job_id, Deadline(timeout_s)))

    def ready(self, job_ids: Sequence[str]) -> dict[str, JobOutcome | JobError]:
        """Return the outcomes of the jobs that have ended, or the errors that `wait` would raise.

        Takes one round trip.

        Raises:
            ResultsUnavailable: Redis did not answer.
        """
        return self.run(self.ready_steps(job_ids))

    def backlog(self) -> Backlog:
        """Return what waits in the queues of the app, and the workers that read them.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        queues = [queue.name for queue in self.app.conf.task_queues]
        return read_backlog(self.app, queues, is_single_redis=self.is_single_redis)

    def run_script(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[int | str | bytes]
    ) -> Any:
        """Run a script in the Redis of the results.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused the script.
        """
        return self._run(ScriptCall(script, keys, arguments))

    def command(self, *arguments: object) -> Any:
        """Run a command in the Redis of the results.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused the command.
        """
        return self._run(arguments)

    def perform(self, request: Request) -> Any:
        """Do what steps request, other than to wait for a job, and return the reply.

        Raises:
            ResultsUnavailable: Redis did not answer, or refused.
        """
        if isinstance(request, (tuple, ScriptCall, RoundTrip)):
            return self._run(request)
        if isinstance(request, ReadBacklog):
            return self.backlog()
        return perform(self.connection, request)

    def _run(self, request: Request) -> Any:
        """Do what is requested; once more on a new connection if the pooled one was broken."""
        try:
            try:
                return perform(self.connection, request)
            except redis.ConnectionError:
                return perform(self.connection, request)
        except redis.RedisError as error:
            raise results_unavailable(error) from error

    def subscription(self) -> KeptSubscription | StandInSubscription:
        """Return a subscription to no channel yet. It has a connection of its own until it ends."""
        in_place = stand_in()
        if in_place is not None:
            return in_place.subscription()
        return self._subscriptions.open()

    @cached_property
    def _subscriptions(self) -> Subscriptions:
        return Subscriptions(self.connection.connection_pool)

    @property
    def connection(self) -> redis.Redis:
        """The client of the results' Redis."""
        return cast("redis.Redis", self.app.backend.client)


class _Subscription:
    """Performs the requests of a caller that waits, with one subscription at a time."""

    def __init__(self, results: ResultReader) -> None:
        self._results = results
        self._channel: KeptSubscription | StandInSubscription | None = None

    def perform(self, request: Request) -> Any:
        """Do what steps request, and return the reply."""
        if isinstance(request, Subscribe):
            self.close()
            self._channel = self._results.subscription()
            return self._channel.subscribe(request.channel)
        if isinstance(request, Listen) and self._channel is not None:
            message = self._channel.get_message(timeout=request.seconds)
            return None if message is None else message["data"]
        return self._results.perform(request)

    def close(self) -> None:
        """End the subscription, if there is one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
