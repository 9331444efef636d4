"""What waits in the queues and who reads them, as far as a sender may know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import redis
from pydantic import BaseModel, ConfigDict
from redis.exceptions import NoPermissionError

from sentq.connection.blocking import perform
from sentq.connection.broker import broker_unavailable, queue_lists, run_on_broker
from sentq.wire.reports import WorkerReport, report_steps
from sentq.wire.scheduled import SCHEDULED_KEY
from sentq.wire.steps import Command, RoundTrip, Steps, run_steps

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Backlog", "backlog_steps", "read_backlog"]


class Backlog(BaseModel):
    """The jobs that wait in the queues of a client, and the workers that read these queues.

    Attributes:
        waiting_jobs: How many jobs wait, by queue. Jobs that workers have taken are not counted.
        scheduled_jobs: How many jobs wait for the time at which they are due, of all queues. A job
            is counted in its queue until a worker has moved it there. None if the user may not
            count them, as with `configs/users-6.2.acl`.
        workers: The reports of the live workers that read one of the queues.
    """

    model_config = ConfigDict(frozen=True)

    waiting_jobs: dict[str, int]
    scheduled_jobs: int | None = None
    workers: tuple[WorkerReport, ...]

    @property
    def total_jobs(self) -> int:
        """How many jobs wait in all of the queues."""
        return sum(self.waiting_jobs.values())

    @property
    def jobs_per_s(self) -> float:
        """How many jobs the workers complete in a second, by their reports. It is 0 if there is no
        worker, and while none has completed a job."""
        return sum(report.jobs_per_s for report in self.workers)

    @property
    def wait_s(self) -> float | None:
        """About how long a job that is sent now waits, in seconds; None if no worker has reported
        its rate."""
        return self.total_jobs / self.jobs_per_s if self.jobs_per_s > 0 else None


def read_backlog(app: Celery, queues: Sequence[str], *, is_single_redis: bool) -> Backlog:
    """Read the backlog of these queues in two round trips.

    Args:
        app: The app of the broker and of the results.
        queues: The queues.
        is_single_redis: Whether messages and results are in the same database of one Redis. Then
            the connections of the results are used.

    Raises:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """
    if not is_single_redis:
        return run_on_broker(app, lambda broker: backlog_steps(queues, broker.prefix))
    try:
        return run_steps(backlog_steps(queues), partial(perform, app.backend.client))
    except redis.RedisError as error:
        raise broker_unavailable(error) from error


def backlog_steps(queues: Sequence[str], prefix: str = "") -> Steps[Backlog]:
    """Read the backlog of these queues in the broker's Redis, whose keys have a prefix."""
    lists = [queue_lists(queue) for queue in queues]
    counts: list[Command] = [("LLEN", f"{prefix}{name}") for names in lists for name in names]
    try:
        *found, scheduled_jobs = yield RoundTrip([*counts, ("ZCARD", f"{prefix}{SCHEDULED_KEY}")])
    except NoPermissionError:
        found, scheduled_jobs = (yield RoundTrip(counts)), None
    reports = yield from report_steps(prefix)
    lengths: Iterator[int] = iter(found)
    return Backlog(
        waiting_jobs={
            queue: sum(next(lengths) for _ in names)
            for queue, names in zip(queues, lists, strict=True)
        },
        scheduled_jobs=scheduled_jobs,
        workers=tuple(report for report in reports if not set(queues).isdisjoint(report.queues)),
    )
