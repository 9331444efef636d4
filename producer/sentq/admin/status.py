"""The status of the service: queued jobs, jobs in flight, workers. `sentq status` shows it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict

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

__all__ = ["QueueStatus", "ServiceStatus", "read_status", "service_status_steps"]


class QueueStatus(BaseModel):
    """The status of a queue.

    Attributes:
        name: The queue.
        waiting_jobs: How many jobs wait.
        oldest_s: How long the oldest one has waited, in seconds; None if none waits or its id does
            not tell when it was sent.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    waiting_jobs: int
    oldest_s: float | None


class ServiceStatus(BaseModel):
    """The status of the whole service.

    Attributes:
        at_s: When it was read: Unix seconds by Redis' clock.
        queues: The queue of single jobs and the bulk queue.
        in_flight_jobs: Jobs that workers have taken and not completed.
        scheduled_jobs: Jobs that wait for their eta.
        workers: The reports of the live workers, by name.
        dead_letters: How many dead letters there are.
        version: The version of sentq that has read this; the reports have those of workers.
        disagreements: In what workers of the same queue differ, such as their model.
    """

    model_config = ConfigDict(frozen=True)

    at_s: float
    queues: tuple[QueueStatus, ...]
    in_flight_jobs: int
    scheduled_jobs: int
    workers: tuple[WorkerReport, ...]
    dead_letters: int
    version: str = VERSION
    disagreements: tuple[Disagreement, ...] = ()


def read_status(app: Celery, settings: Settings) -> ServiceStatus:
    """Read the status from the broker's Redis.

    Raises:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """
    return run_on_broker(app, partial(service_status_steps, settings=settings))


def service_status_steps(broker: BrokerKeys, settings: Settings) -> Steps[ServiceStatus]:
    """Read the status from the broker's Redis, which has these keys."""
    seconds, microseconds = yield ("TIME",)
    now_s = float(seconds) + float(microseconds) / 1e6
    reports = tuple((yield from report_steps(broker.prefix)))
    single = yield from _queue_steps(broker, settings.queue, now_s)
    bulk = yield from _queue_steps(broker, settings.bulk_queue, now_s)
    in_flight_jobs, scheduled_jobs, dead_letters = yield RoundTrip(
        [
            ("ZCARD", broker.unacked_index_key),
            ("ZCARD", broker.key(SCHEDULED_KEY)),
            ("XLEN", broker.key(DEAD_LETTERS_KEY)),
        ]
    )
    return ServiceStatus(
        at_s=now_s,
        queues=(single, bulk),
        in_flight_jobs=in_flight_jobs,
        scheduled_jobs=scheduled_jobs,
        workers=reports,
        dead_letters=dead_letters,
        disagreements=disagreements(reports),
    )


def _queue_steps(broker: BrokerKeys, name: str, now_s: float) -> Steps[QueueStatus]:
    waiting, ages_s = 0, []
    for key in broker.lists(name):
        length, oldest = yield RoundTrip([("LLEN", key), ("LINDEX", key, -1)])
        waiting += length
        age_s = _age_s(oldest, now_s)
        if age_s is not None:
            ages_s.append(age_s)
    return QueueStatus(name=name, waiting_jobs=waiting, oldest_s=max(ages_s, default=None))


def _age_s(raw: Any, now_s: float) -> float | None:
    """Return how long a message has waited, in seconds. Its start is by the sender's clock."""
    try:
        sent_ms = sent_at_ms(orjson.loads(raw)["headers"]["id"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return None if sent_ms is None else max(0.0, now_s - sent_ms / 1000)
