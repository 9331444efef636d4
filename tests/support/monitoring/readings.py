"""Readings of a worker and of a service that have each metric, for what shows metrics."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

from sentq.admin.status import QueueStatus, ServiceStatus
from sentq.exporter.reading import RedisMemory, ServiceReading
from sentq.webhooks.store import WebhookPlace
from sentq.wire.roll.report import RollReport, RollStage
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import BudgetUse, EngineCounts
from sentq_worker.monitoring.reading import EngineReading

__all__ = ["completed_job", "engine_reading", "service_reading"]


def completed_job(*outcomes: dict[str, object]) -> tuple[Any, Any]:
    """Return a job of the queue sentq with these outcomes, as `JobCounts` takes it."""
    job = SimpleNamespace(delivery_info={"routing_key": "sentq"}, lost_deliveries=0)
    own = {"model": "m", "revision": None, "attempts": 1, "queued_ms": 3.0}
    return job, {"outcomes": list(outcomes), **own}


def engine_reading(n: int = 1) -> EngineReading:
    """Return what a worker reads of its engine whose breaker is open, with counts of `n`."""
    engine = EngineInfo("model", "revision", "local:cpu", "float32", ("a", "b"))
    return EngineReading(
        in_flight_jobs=3,
        busy_s=n * 0.5,
        engine=engine,
        models={"main": engine},
        breakers={"hub": "open"},
        counts=EngineCounts(
            Counter(text=n, padding=n),
            Counter(ok=n),
            Counter(hits=n, misses=n, forged=n, errors=n),
            (BudgetUse("day", "calls", 95, 100, is_used_up=False, at_s=1.0),),
            model_texts=Counter(main=n),
            shadow_texts=Counter(agreed=n, differed=n, failed=n),
            shadow_difference=n * 0.25,
            candidate_failures=n,
        ),
        roll=RollReport(stage=RollStage.FAILED),
    )


def service_reading() -> ServiceReading:
    """Return what the exporter reads of a service with one job that waits."""
    queue = QueueStatus(
        name="sentq", waiting_jobs=1, waiting_by_priority={0: 1, 3: 0, 6: 0, 9: 0}, oldest_s=1.0
    )
    status = ServiceStatus(
        at_s=time.time(),
        backlog_jobs=1,
        ready_jobs=1,
        backlog_texts=1,
        waiting_jobs=1,
        in_flight_jobs=0,
        scheduled_jobs=0,
        oldest_s=1.0,
        pace_jobs_per_s=1.0,
        busy_workers=0.0,
        drain_s=1.0,
        live_workers=0,
        queues=(queue,),
        workers=(),
        dead_letters=1,
    )
    webhooks = {WebhookPlace.WAITING: 1, WebhookPlace.DEAD: 1}
    return ServiceReading(status, {"malformed": 1}, RedisMemory(1, 2), webhooks)
