"""The metrics of the service, in the form of the client library of Prometheus.

No label is open-ended: queues and priorities are those of the settings, codes and states are lists
of this version. Workers are counted by state, and have no series of their own: what a worker counts
it serves itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sentq.admin.status import ServiceStatus
from sentq.errors import BrokerUnavailable
from sentq.exporter.reading import RedisMemory, ServiceReading
from sentq.wire.agreement import Topic
from sentq.wire.reports import WorkerReport

__all__ = ["ServiceCollector"]

_WORKER_STATES: Final = ("idle", "busy", "unavailable")


class ServiceCollector(Collector):
    """Makes the metrics of the service.

    Args:
        read: Reads the service.
    """

    def __init__(self, read: Callable[[], ServiceReading]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for one scrape. Without Redis there is one: `sentq_redis_up`."""
        try:
            reading = self._read()
        except BrokerUnavailable:
            reading = None
        yield GaugeMetricFamily(
            "sentq_redis_up", "Whether Redis answered the exporter: 1 or 0.", reading is not None
        )
        if reading is None:
            return
        yield from _queue_families(reading.status)
        yield from _backlog_families(reading.status)
        dead_letters = GaugeMetricFamily(
            "sentq_dead_letters", "Dead letters that are kept.", labels=("code",)
        )
        for code, number in sorted(reading.dead_letters.items()):
            dead_letters.add_metric((code,), number)
        yield dead_letters
        workers = GaugeMetricFamily(
            "sentq_workers", "Live workers, by what they do at the moment.", labels=("state",)
        )
        states = Counter(map(_state, reading.status.workers))
        for state in _WORKER_STATES:
            workers.add_metric((state,), states[state])
        yield workers
        differences = GaugeMetricFamily(
            "sentq_worker_disagreements",
            "In how many sets of queues the workers differ, such as in their model.",
            labels=("topic",),
        )
        topics = Counter(each.topic for each in reading.status.disagreements)
        for topic in Topic:
            differences.add_metric((topic.replace(" ", "_"),), topics[topic])
        yield differences
        if reading.webhooks is not None:
            webhooks = GaugeMetricFamily(
                "sentq_webhooks",
                "Webhooks that wait, and those that are kept after their last attempt.",
                labels=("place",),
            )
            for place, number in reading.webhooks.items():
                webhooks.add_metric((place,), number)
            yield webhooks
        if reading.memory is not None:
            yield from _memory_families(reading.memory)


def _queue_families(status: ServiceStatus) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "sentq_queue_jobs", "Jobs that wait in a queue.", labels=("queue", "priority")
    )
    oldest = GaugeMetricFamily(
        "sentq_queue_oldest_seconds",
        "How long the oldest job of a queue has waited; 0 if none waits.",
        labels=("queue",),
    )
    for queue in status.queues:
        for priority, number in queue.waiting_by_priority.items():
            jobs.add_metric((queue.name, str(priority)), number)
        if queue.oldest_s is not None or not queue.waiting_jobs:
            oldest.add_metric((queue.name,), queue.oldest_s or 0.0)
    yield jobs
    yield oldest
    yield GaugeMetricFamily(
        "sentq_unacked_jobs",
        "Jobs that workers have taken and not completed.",
        status.in_flight_jobs,
    )
    yield GaugeMetricFamily(
        "sentq_scheduled_jobs", "Jobs that wait for their eta.", status.scheduled_jobs
    )


def _backlog_families(status: ServiceStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sentq_backlog_jobs", "All jobs without an outcome.", status.backlog_jobs
    )
    yield GaugeMetricFamily(
        "sentq_ready_jobs",
        "All jobs without an outcome, but those whose eta is more than a minute away.",
        status.ready_jobs,
    )
    yield GaugeMetricFamily(
        "sentq_backlog_texts", "About how many texts the backlog has.", status.backlog_texts
    )
    yield GaugeMetricFamily(
        "sentq_oldest_seconds",
        "How long ago the oldest job was sent that waits or is in flight; 0 without one.",
        status.oldest_s or 0.0,
    )
    drain = GaugeMetricFamily(
        "sentq_drain_seconds",
        "How long the live workers need for the ready jobs; absent while they have no pace.",
        labels=(),
    )
    if status.drain_s is not None:
        drain.add_metric((), status.drain_s)
    yield drain


def _memory_families(memory: RedisMemory) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sentq_redis_memory_used_bytes", "Memory that Redis uses.", memory.used_bytes
    )
    yield GaugeMetricFamily(
        "sentq_redis_memory_max_bytes", "Redis' maxmemory; 0 if it has none.", memory.max_bytes
    )


def _state(report: WorkerReport) -> str:
    if report.waiting_for is not None:
        return "unavailable"
    return "busy" if report.in_flight_jobs else "idle"
