"""Each expression of the dashboard and of the rules, in a real Prometheus.

It scrapes pages that the collectors of worker and exporter make, with all of their metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from sentq.exporter.collector import ServiceCollector
from sentq.serving import Page, PageServer
from sentq_worker.monitoring.collector import WorkerCollector
from sentq_worker.monitoring.job_counts import JobCounts, Redelivery
from sentq_worker.monitoring.reading import EngineReading
from tests.support.monitoring.observability import alerts, expressions, panels, write_short_rules
from tests.support.monitoring.prometheus import PrometheusServer
from tests.support.monitoring.readings import completed_job, engine_reading, service_reading
from tests.support.processes import eventually

pytestmark = [pytest.mark.slow, pytest.mark.process]

#: For `$__rate_interval`; the pages are scraped each second.
RATE_INTERVAL = "5s"


class _BusyWorker:
    """What a worker counts whose breaker is open, more with each scrape."""

    def __init__(self) -> None:
        self.counts = JobCounts()
        self.counts.name_queues(["sentq", "sentq.bulk"])
        self._scrapes = 0

    def read(self) -> EngineReading:
        self._scrapes = n = self._scrapes + 1
        self.counts.add_batch(seconds=0.02, texts=3)
        job = completed_job(
            {"label": "positive", "score": 0.9},
            {"label": "neutral", "score": 0.6, "language": "de", "language_supported": False},
            {"code": "nonfinite"},
        )
        self.counts.add_completed([job], since_start_s=0.03)
        self.counts.add_redeliveries(Redelivery.LEASE_EXPIRED, 1)
        return engine_reading(n)


def _server(collector: Collector) -> PageServer:
    registry = CollectorRegistry()
    registry.register(collector)
    return PageServer(
        "127.0.0.1",
        0,
        {"/metrics": lambda: Page(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)},
    )


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[PrometheusServer]:
    rules = tmp_path / "rules"
    rules.mkdir()
    write_short_rules(rules, {"sentq": 300, "sentq.bulk": 3600, "drain": 900})
    worker = _BusyWorker()
    pages = (
        _server(WorkerCollector(worker.counts, worker.read)),
        _server(ServiceCollector(service_reading)),
    )
    with PrometheusServer(tmp_path, rules) as prometheus:
        ports = []
        for page in pages:
            page.start()
            ports.append(int(page.url.rpartition(":")[2]))
        prometheus.scrape(workers=ports[:1], exporter=ports[1])
        yield prometheus
        for page in pages:
            page.stop()


def test_each_panel_has_data_and_no_rule_fails(prometheus: PrometheusServer) -> None:
    queries = [
        (panel.title, expression)
        for panel in panels(rate_interval=RATE_INTERVAL)
        for expression, _ in panel.queries
    ]

    def without_data() -> list[tuple[str, str]]:
        return [(title, each) for title, each in queries if not prometheus.query(each)]

    eventually(lambda: not without_data(), within_s=60, what="data in all panels")
    assert prometheus.problems() == []
    # An alert has data when it fires. What looks back on days is tested by promtool.
    of_days = {name for name, each in expressions().items() if "offset 1d" in each}
    for name, expression in expressions().items():
        query = partial(prometheus.query, expression.replace("$__rate_interval", RATE_INTERVAL))
        if name in {*alerts(), *of_days}:
            query()
        else:
            eventually(query, within_s=60, what=name)
    legends = [legend for panel in panels() for _, legend in panel.queries]
    assert len(legends) == len(queries)
