"""The status of the service: queued jobs, jobs in flight, workers. `sentq status` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict

from sentq.connection.broker import BrokerRedis, open_broker
from sentq.version import VERSION
from sentq.wire.agreement import Disagreement, disagreements
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.ids import sent_at_ms
from sentq.wire.reports import WorkerReport, read_reports
from sentq.wire.scheduled import SCHEDULED_KEY

if TYPE_CHECKING:
    from celery import Celery

    from sentq.settings import Settings

__all__ = ["QueueStatus", "ServiceStatus", "read_status"]


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
    with open_broker(app) as broker:
        seconds, microseconds = broker.redis.time()
        now_s = float(seconds) + float(microseconds) / 1e6
        reports = tuple(read_reports(broker.redis, prefix=broker.prefix))
        return ServiceStatus(
            at_s=now_s,
            queues=tuple(
                _queue(broker, name, now_s) for name in (settings.queue, settings.bulk_queue)
            ),
            in_flight_jobs=int(broker.redis.zcard(broker.unacked_index_key)),
            scheduled_jobs=int(broker.redis.zcard(broker.key(SCHEDULED_KEY))),
            workers=reports,
            dead_letters=int(broker.redis.xlen(broker.key(DEAD_LETTERS_KEY))),
            disagreements=disagreements(reports),
        )


def _queue(broker: BrokerRedis, name: str, now_s: float) -> QueueStatus:
    waiting, ages_s = 0, []
    for key in broker.lists(name):
        waiting += int(broker.redis.llen(key))
        age_s = _age_s(broker.redis.lindex(key, -1), now_s)
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
