"""The page docs/metrics.md names each metric, as the code makes them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric

from sentq.admin.status import QueueStatus, Scale, ServiceStatus
from sentq.exporter.collector import ServiceCollector
from sentq.exporter.reading import RedisMemory, ServiceReading
from sentq.webhooks.store import WebhookPlace
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import BudgetUse, EngineCounts
from sentq_worker.monitoring.collector import WorkerCollector
from sentq_worker.monitoring.job_counts import JobCounts
from sentq_worker.monitoring.reading import EngineReading
from tests.support.monitoring.metrics_page import METRICS_PAGE, documented_metrics

pytestmark = pytest.mark.unit


def _in_the_code(families: Iterable[Metric]) -> dict[str, tuple[str, set[str]]]:
    found = {}
    for family in families:
        name, kind = family.name, family.type
        if kind == "counter":
            name += "_total"
        elif kind == "info":
            name, kind = f"{name}_info", "gauge"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.samples, f"{name} is made without samples here"
        found[name] = kind, labels
    return found


def test_the_page_has_each_metric_of_a_worker() -> None:
    counts = JobCounts()
    counts.name_queues(["sentq"])
    reading = EngineReading(
        in_flight_jobs=1,
        busy_s=1.0,
        engine=EngineInfo("model", "revision", "local:cpu", "float32", ("a", "b")),
        breakers={"hub": "open"},
        counts=EngineCounts(
            Counter(text=1),
            Counter(ok=1),
            Counter(hits=1, misses=1, forged=1, errors=1),
            (BudgetUse("day", "calls", 1, 2),),
        ),
    )
    made = _in_the_code(WorkerCollector(counts, lambda: reading).collect())
    assert made == documented_metrics("Metrics of a worker")


def test_the_page_has_each_metric_of_the_exporter() -> None:
    queue = QueueStatus(name="sentq", waiting_jobs=1, waiting_by_priority={0: 1}, oldest_s=1.0)
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
        drain_s=1.0,
        live_workers=0,
        queues=(queue,),
        workers=(),
        dead_letters=1,
    )
    webhooks = {WebhookPlace.DEAD: 1}
    reading = ServiceReading(status, {"malformed": 1}, RedisMemory(1, 2), webhooks)
    made = _in_the_code(ServiceCollector(lambda: reading).collect())
    assert made == documented_metrics("Metrics of the exporter")


def test_the_page_has_each_field_of_the_backlog() -> None:
    section = METRICS_PAGE.read_text(encoding="utf-8").partition("## The backlog\n")[2]
    named = set(re.findall(r"`(\w+)`", section.partition("\n\n`sentq status --watch`")[0]))
    assert set(Scale.model_fields) - {"at_s"} <= named
