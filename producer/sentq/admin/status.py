"""The status of the service: queued jobs, jobs in flight, workers. `sentq status` shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict
from redis.exceptions import NoPermissionError

from sentq.admin.hub_budget import HubBudget, hub_budgets
from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.version import VERSION
from sentq.wire.agreement import Disagreement, disagreements
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.ids import sent_at_ms
from sentq.wire.reports import WorkerReport, report_steps
from sentq.wire.scheduled import SCHEDULED_KEY
from sentq.wire.steps import RoundTrip, Steps

if TYPE_CHECKING:
    from celery import Celery

    from sentq.settings import Settings

__all__ = [
    "LONGEST_DRAIN_S",
    "QueueStatus",
    "Scale",
    "ServiceStatus",
    "read_status",
    "service_status_steps",
]

#: Longer times to drain are shown to people as unknown: the pace is that of an engine that stands.
LONGEST_DRAIN_S: Final = 30 * 86_400.0

#: Scheduled jobs that are due within so many seconds count as ready: a worker that is started for
#: them takes about as long to load its model.
_DUE_WITHIN_S: Final = 60.0

#: How a client writes the number of texts of a job into its message.
_TEXTS: Final = re.compile(r"<(\d{1,9}) texts?>")


class QueueStatus(BaseModel):
    """The status of a queue.

    Attributes:
        name: The queue.
        waiting_jobs: How many jobs wait, in the lists of all priorities together.
        waiting_by_priority: The same for each list, by its priority: 0, 3, 6 and 9. 0 is taken
            first.
        oldest_s: How long the oldest one has waited, in seconds; None if none waits or its id does
            not tell when it was sent, or this user may not read it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    waiting_jobs: int
    waiting_by_priority: dict[int, int]
    oldest_s: float | None


class Scale(BaseModel):
    """What decides how many workers are needed.

    Attributes:
        at_s: When it was read: Unix seconds by Redis' clock.
        backlog_jobs: All jobs without an outcome: those that wait in the lists of all queues and
            priorities, those that workers have taken, and those that wait for their eta.
        ready_jobs: The same without jobs whose eta is more than a minute away. Scale on this
            number: no worker can shorten the wait for an eta.
        backlog_texts: About how many texts `backlog_jobs` have.
        backlog_texts_is_estimate: Always true: the messages are not read. The mean number of texts
            a job is that of the jobs that the live workers have completed; without any, that of
            the oldest waiting jobs.
        waiting_jobs: Jobs in the lists of all queues and priorities.
        in_flight_jobs: Jobs that workers have taken and not completed.
        scheduled_jobs: Jobs that wait for their eta.
        oldest_s: How long ago the oldest job was sent that waits or is in flight, in seconds; None
            if there is no such job, or no id tells.
        pace_jobs_per_s: How many jobs a second the live workers complete while they have some; 0
            before the first one, and without a worker that can score.
        busy_workers: For how many workers the last ten seconds were work: the sum, over the live
            workers, of the share of time with jobs in the engine.
        drain_s: How long these workers need for `ready_jobs`, in seconds; None if the pace is 0.
        live_workers: How many workers report.
    """

    model_config = ConfigDict(frozen=True)

    at_s: float
    backlog_jobs: int
    ready_jobs: int
    backlog_texts: int
    backlog_texts_is_estimate: Literal[True] = True
    waiting_jobs: int
    in_flight_jobs: int
    scheduled_jobs: int
    oldest_s: float | None
    pace_jobs_per_s: float
    busy_workers: float
    drain_s: float | None
    live_workers: int


class ServiceStatus(Scale):
    """The status of the whole service.

    Attributes:
        queues: The queue of single jobs and the bulk queue.
        workers: The reports of the live workers, by name.
        dead_letters: How many dead letters there are.
        version: The version of sentq that has read this; the reports have those of workers.
        disagreements: In what workers of the same queue differ, such as their model.
        hub_budget: The limits of the budget of calls to the Hub, and what was used of each. Empty
            if nothing is limited, or no worker calls the Hub.
    """

    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerReport, ...]
    dead_letters: int
    version: str = VERSION
    disagreements: tuple[Disagreement, ...] = ()
    hub_budget: tuple[HubBudget, ...] = ()

    def scale(self) -> Scale:
        """Return the part that decides how many workers are needed."""
        return Scale(**{name: getattr(self, name) for name in Scale.model_fields})


class _Oldest(NamedTuple):
    """What the oldest message of a list tells.

    Attributes:
        age_s: How long it has waited since it was sent, by its sender's clock, or since it was
            due, in seconds.
        texts: How many texts it has.
    """

    age_s: float | None = None
    texts: int | None = None


def read_status(app: Celery, settings: Settings) -> ServiceStatus:
    """Read the status from the broker's Redis.

    Raises:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """
    return run_on_broker(app, partial(service_status_steps, settings=settings))


def service_status_steps(broker: BrokerKeys, settings: Settings) -> Steps[ServiceStatus]:
    """Read the status from the broker's Redis, which has these keys.

    It takes three round trips, and as many commands for any number of jobs. To a user who may not
    read messages, the age of those that wait is not known.
    """
    names = settings.queue, settings.bulk_queue
    lists = [key for name in names for key in broker.lists(name)]
    counts = (
        ("TIME",),
        ("ZCARD", broker.unacked_index_key),
        ("ZCARD", broker.key(SCHEDULED_KEY)),
        ("XLEN", broker.key(DEAD_LETTERS_KEY)),
        *(("LLEN", key) for key in lists),
    )
    ends = tuple(("LINDEX", key, -1) for key in lists)
    try:
        found = yield RoundTrip([*counts, *ends])
    except NoPermissionError:
        # A gateway may count messages, and not read them.
        found = [*(yield RoundTrip(counts)), *(None for _ in ends)]
    time, in_flight_jobs, scheduled_jobs, dead_letters, *found = found
    lengths, ends_found = found[: len(lists)], found[len(lists) :]
    now_s = float(time[0]) + float(time[1]) / 1e6
    later_jobs = 0
    if scheduled_jobs:
        due_by_ms = round((now_s + _DUE_WITHIN_S) * 1000)
        later_jobs = yield ("ZCOUNT", broker.key(SCHEDULED_KEY), f"({due_by_ms}", "+inf")
    reports = tuple((yield from report_steps(broker.prefix)))
    oldest = [_oldest(raw, now_s) for raw in ends_found]
    queues = _queues(names, lengths, oldest, broker)
    waiting_jobs = sum(queue.waiting_jobs for queue in queues)
    backlog_jobs = waiting_jobs + in_flight_jobs + scheduled_jobs
    ready_jobs = backlog_jobs - later_jobs
    pace = sum(map(_pace, reports))
    return ServiceStatus(
        at_s=now_s,
        backlog_jobs=backlog_jobs,
        ready_jobs=ready_jobs,
        backlog_texts=round(backlog_jobs * _texts_per_job(reports, oldest)),
        waiting_jobs=waiting_jobs,
        in_flight_jobs=in_flight_jobs,
        scheduled_jobs=scheduled_jobs,
        oldest_s=max(_ages_s(queues, reports, now_s), default=None),
        pace_jobs_per_s=pace,
        busy_workers=sum(report.busy_share for report in reports),
        drain_s=ready_jobs / pace if pace > 0 else None,
        live_workers=len(reports),
        queues=queues,
        workers=reports,
        dead_letters=dead_letters,
        disagreements=disagreements(reports),
        hub_budget=hub_budgets(reports, now_s),
    )


def _queues(
    names: Sequence[str], lengths: Sequence[int], oldest: Sequence[_Oldest], broker: BrokerKeys
) -> tuple[QueueStatus, ...]:
    priorities = broker.priorities
    found = []
    for n, name in enumerate(names):
        part = slice(n * len(priorities), (n + 1) * len(priorities))
        ages_s = [each.age_s for each in oldest[part] if each.age_s is not None]
        found.append(
            QueueStatus(
                name=name,
                waiting_jobs=sum(lengths[part]),
                waiting_by_priority=dict(zip(priorities, lengths[part], strict=True)),
                oldest_s=max(ages_s, default=None),
            )
        )
    return tuple(found)


def _ages_s(
    queues: Sequence[QueueStatus], reports: Sequence[WorkerReport], now_s: float
) -> Iterator[float]:
    yield from (queue.oldest_s for queue in queues if queue.oldest_s is not None)
    for report in reports:
        if report.in_flight_jobs and report.oldest_sent_at_s is not None:
            yield max(0.0, now_s - report.oldest_sent_at_s)


def _pace(report: WorkerReport) -> float:
    if report.waiting_for is not None:
        return 0.0  # It cannot score at the moment.
    return report.jobs_per_s if report.pace_jobs_per_s is None else report.pace_jobs_per_s


def _texts_per_job(reports: Sequence[WorkerReport], oldest: Sequence[_Oldest]) -> float:
    counted = [report for report in reports if report.texts_finished and report.jobs_finished]
    if counted:
        jobs = sum(report.jobs_finished for report in counted)
        return sum(report.texts_finished for report in counted) / jobs
    texts = [each.texts for each in oldest if each.texts is not None]
    return sum(texts) / len(texts) if texts else 1.0


def _due_s(eta: str | None) -> float:
    """Return when a job with this eta is due, in Unix seconds; 0 without one."""
    if eta is None:
        return 0.0
    due = datetime.fromisoformat(eta)
    return (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp()


def _oldest(raw: Any, now_s: float) -> _Oldest:
    """Return what a message tells; nothing if it is None, or not one of a client of sentq."""
    try:
        headers = orjson.loads(raw)["headers"]
        sent_ms = sent_at_ms(headers["id"])
        counted = _TEXTS.fullmatch(headers.get("argsrepr") or "")
        due_s = _due_s(headers.get("eta"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Oldest()
    age_s = None if sent_ms is None else max(0.0, now_s - max(sent_ms / 1000, due_s))
    return _Oldest(age_s, int(counted[1]) if counted else None)
