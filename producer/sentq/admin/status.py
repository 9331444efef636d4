"""What goes on: what waits, what is in hand, who works. What `sentq status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict

from sentq.connection.broker import BrokerRedis, open_broker
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.ids import sent_at_ms
from sentq.wire.reports import WorkerReport, read_reports

if TYPE_CHECKING:
    from celery import Celery

    from sentq.settings import Settings

__all__ = ["QueueStatus", "ServiceStatus", "read_status"]


class QueueStatus(BaseModel):
    """One queue: how many jobs wait in it, and for how long the oldest has; None where none
    waits, or where its id does not say when it was sent."""

    model_config = ConfigDict(frozen=True)

    name: str
    waiting_jobs: int
    oldest_s: float | None


class ServiceStatus(BaseModel):
    """The whole service, at `at_s` by Redis' clock. `in_flight_jobs` were taken by workers and
    are not answered yet."""

    model_config = ConfigDict(frozen=True)

    at_s: float
    queues: tuple[QueueStatus, ...]
    in_flight_jobs: int
    workers: tuple[WorkerReport, ...]
    dead_letters: int


def read_status(app: Celery, settings: Settings) -> ServiceStatus:
    """Ask the broker's Redis.

    Raises:
        BrokerUnavailable: It did not answer, or refused.
        SettingsError: The broker is not Redis.
    """
    with open_broker(app) as broker:
        seconds, microseconds = broker.redis.time()
        now_s = float(seconds) + float(microseconds) / 1e6
        return ServiceStatus(
            at_s=now_s,
            queues=tuple(
                _queue(broker, name, now_s) for name in (settings.queue, settings.bulk_queue)
            ),
            in_flight_jobs=int(broker.redis.zcard(broker.unacked_index_key)),
            workers=tuple(read_reports(broker.redis, prefix=broker.prefix)),
            dead_letters=int(broker.redis.xlen(broker.key(DEAD_LETTERS_KEY))),
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
    """For how long this message has waited. The sender's clock says since when."""
    try:
        sent_ms = sent_at_ms(orjson.loads(raw)["headers"]["id"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return None if sent_ms is None else max(0.0, now_s - sent_ms / 1000)
