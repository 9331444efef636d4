"""The page docs/metrics.md names each metric, as the code makes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sentq.admin.status import Scale
from sentq.exporter.collector import ServiceCollector
from sentq_worker.group.child import Child
from sentq_worker.group.pages import GroupPages
from sentq_worker.group.plan import ChildPlan
from sentq_worker.group.restarts import RestartPolicy
from sentq_worker.monitoring.collector import WorkerCollector
from sentq_worker.monitoring.job_counts import JobCounts
from tests.support.monitoring.metrics_page import METRICS_PAGE, documented_metrics
from tests.support.monitoring.readings import completed_job, engine_reading, service_reading

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
    counts.add_completed([completed_job({"label": "positive", "score": 0.9})], since_start_s=0.0)
    made = _in_the_code(WorkerCollector(counts, engine_reading).collect())
    of_rolls = documented_metrics("Metrics of a roll")
    assert made == documented_metrics("Metrics of a worker") | of_rolls


def test_the_page_has_each_metric_of_a_group() -> None:
    children = [Child(ChildPlan("cpu0", "cpu"), RestartPolicy(1))]
    page = GroupPages(children, threading.Lock()).metrics()
    made = _in_the_code(text_string_to_metric_families(page.body.decode()))
    assert made == documented_metrics("Metrics of a group")


def test_the_page_has_each_metric_of_the_exporter() -> None:
    made = _in_the_code(ServiceCollector(service_reading).collect())
    assert made == documented_metrics("Metrics of the exporter")


def test_the_page_has_each_field_of_the_backlog() -> None:
    section = METRICS_PAGE.read_text(encoding="utf-8").partition("## The backlog\n")[2]
    named = set(re.findall(r"`(\w+)`", section.partition("\n\n`sentq status --watch`")[0]))
    assert set(Scale.model_fields) - {"at_s"} <= named
