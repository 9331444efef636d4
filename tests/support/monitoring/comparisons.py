"""Every metric as Prometheus has it, and as it must be: by the outcomes of a test's own jobs, and
by Redis, read directly."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import pytest
import redis

from tests.support.monitoring.ledger import Ledger
from tests.support.monitoring.prometheus import PrometheusServer
from tests.support.processes import WorkerProcess

__all__ = ["Between", "Compared", "WatchedWorker", "of_redis", "of_worker", "waiting_jobs"]

#: The lists of a queue by priority, as kombu names them.
_LISTS: Final = {"0": "", "3": "\x06\x163", "6": "\x06\x166", "9": "\x06\x169"}
_QUEUES: Final = ("sentq", "sentq.bulk")

#: How old the age of a job may be: a report of its worker, a reading, a scrape, in seconds.
_REPORTED_S: Final = 8.0

#: The most tokens of a window of the tiny model, and of windows of a text here.
_WINDOW_TOKENS: Final = 64
_WINDOWS: Final = 8


class Between:
    """Is equal to each number in a range."""

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self._least <= other <= self._most

    def __hash__(self) -> int:
        return hash((self._least, self._most))

    def __repr__(self) -> str:
        return f"from {self._least:g} to {self._most:g}"


class Compared(NamedTuple):
    """A metric as Prometheus has it, and as it must be."""

    metric: str
    seen: object
    expected: object


@dataclass
class WatchedWorker:
    """A worker, its port, and what it must have counted.

    Attributes:
        process: The worker.
        port: Its port of metrics.
        info: The labels of `sentq_worker_info`, as far as the test knows them.
        ledger: The jobs that it has completed.
        has_cache: Whether it caches predictions.
        in_flight: How many jobs it has now.
        redeliveries: How many jobs it has delivered again, by reason.
        has_more_batches: Whether it may have had batches that outcomes do not tell: its engine was
            unavailable, or two of its short batches took the same time to the nanosecond.
        started_s: When it was started, by the monotonic clock.
    """

    process: WorkerProcess
    port: int
    info: Mapping[str, str]
    ledger: Ledger
    has_cache: bool = False
    in_flight: int = 0
    redeliveries: dict[str, int] = field(default_factory=dict)
    has_more_batches: bool = False
    started_s: float = field(default_factory=time.monotonic)

    @property
    def instance(self) -> str:
        """The label by which Prometheus knows it."""
        return f"127.0.0.1:{self.port}"


class _WorkerSamples:
    """The samples of one worker in Prometheus."""

    def __init__(self, prometheus: PrometheusServer, worker: WatchedWorker) -> None:
        self._prometheus = prometheus
        self._instance = worker.instance

    def by(self, metric: str, *by: str, **labels: str) -> dict[tuple[str, ...], float]:
        matchers = "".join(f',{name}="{value}"' for name, value in labels.items())
        return self._prometheus.values(f'{metric}{{instance="{self._instance}"{matchers}}}', *by)

    def one(self, metric: str) -> float | None:
        return self.by(metric).get(())


def of_worker(prometheus: PrometheusServer, worker: WatchedWorker) -> Iterator[Compared]:
    """Compare all metrics of a worker but those of the Hub."""
    seen = _WorkerSamples(prometheus, worker)
    yield from _of_jobs(seen, worker)
    yield from _of_batches(seen, worker)
    yield from _of_engine(seen, worker)
    found = prometheus.query(f'sentq_worker_info{{instance="{worker.instance}"}}')
    labels = [{name: one.labels[name] for name in worker.info} for one in found]
    yield Compared("sentq_worker_info", labels, [dict(worker.info)])
    if worker.ledger.tokens is not None:
        found = prometheus.query(f'sentq_model_info{{instance="{worker.instance}"}}')
        models = [(one.labels["name"], one.labels["model"]) for one in found]
        yield Compared("sentq_model_info", models, [("main", worker.info["model"])])


def _of_jobs(seen: _WorkerSamples, worker: WatchedWorker) -> Iterator[Compared]:
    ledger = worker.ledger
    done = seen.by("sentq_jobs_total", "queue", outcome="done")
    yield Compared("sentq_jobs_total", _without_zeros(done), ledger.jobs())
    failed = seen.by("sentq_jobs_total", "queue", outcome="failed")
    yield Compared("sentq_jobs_total", _without_zeros(failed), {})
    texts = seen.by("sentq_texts_total", "outcome", "code")
    yield Compared("sentq_texts_total", _without_zeros(texts), ledger.texts())
    name = "sentq_other_language_texts_total"
    yield Compared(name, seen.one(name), ledger.other_language_texts())
    labels = seen.by("sentq_predictions_total", "model", "label")
    yield Compared("sentq_predictions_total", labels, ledger.labels())
    for part, of in (("count", len), ("sum", sum)):
        name = f"sentq_prediction_score_{part}"
        scores = {model: float(of(values)) for model, values in ledger.scores().items()}
        yield Compared(name, seen.by(name, "model"), pytest.approx(scores))
    redeliveries = seen.by("sentq_redeliveries_total", "reason")
    expected = {(reason,): float(n) for reason, n in worker.redeliveries.items()}
    yield Compared("sentq_redeliveries_total", _without_zeros(redeliveries), expected)

    waits_s = ledger.queue_seconds()
    for name in ("sentq_job_queue_seconds_count", "sentq_job_seconds_count"):
        lengths = {queue: float(len(values)) for queue, values in waits_s.items()}
        yield Compared(name, _without_zeros(seen.by(name, "queue")), lengths)
    sums = {queue: sum(values) for queue, values in waits_s.items()}
    name = "sentq_job_queue_seconds_sum"
    yield Compared(name, _of_queues(seen.by(name, "queue"), sums), pytest.approx(sums))
    name = "sentq_job_queue_seconds_bucket"
    buckets = {key: n for key, n in seen.by(name, "queue", "le").items() if key[1] != "+Inf"}
    yield Compared(name, _of_queues(buckets, sums), ledger.queue_seconds_buckets())
    # A job is stored after its batch was computed.
    took_s = seen.by("sentq_job_seconds_sum", "queue")
    for queue, waited_s in sums.items():
        least_s = (waited_s + ledger.computed_s(*queue)) * 0.999
        most_s = least_s * 1.01 + 5 * len(waits_s[queue])
        yield Compared("sentq_job_seconds_sum", took_s.get(queue), Between(least_s, most_s))


def _of_batches(seen: _WorkerSamples, worker: WatchedWorker) -> Iterator[Compared]:
    ledger, batches_s = worker.ledger, worker.ledger.batches_s()
    for name, value in {
        "sentq_batch_seconds_count": float(len(batches_s)),
        "sentq_batch_texts_count": float(len(batches_s)),
        "sentq_batch_seconds_sum": sum(batches_s),
        "sentq_batch_texts_sum": ledger.batch_texts(),
    }.items():
        most = math.inf if worker.has_more_batches else value * (1 + 1e-6)
        yield Compared(name, seen.one(name), Between(value * (1 - 1e-6), most))
    if not worker.has_more_batches:
        name = "sentq_batch_seconds_bucket"
        buckets = {key: n for key, n in seen.by(name, "le").items() if key != ("+Inf",)}
        yield Compared(name, buckets, ledger.batch_seconds_buckets())


def _of_engine(seen: _WorkerSamples, worker: WatchedWorker) -> Iterator[Compared]:
    ledger = worker.ledger
    computed_s, alive_s = sum(ledger.batches_s()), time.monotonic() - worker.started_s
    name = "sentq_engine_busy_seconds_total"
    yield Compared(name, seen.one(name), Between(computed_s * 0.999, alive_s))
    name = "sentq_jobs_in_flight"
    yield Compared(name, seen.one(name), float(worker.in_flight))
    tokens = seen.by("sentq_tokens_total", "kind")
    yield Compared("sentq_tokens_total", tokens.get(("text",)), ledger.text_tokens())
    texts = sum(seen.by("sentq_model_texts_total", "name").values())
    least = 0.0 if ledger.tokens is None else ledger.batch_texts()
    yield Compared("sentq_model_texts_total", texts, Between(least, ledger.batch_texts()))
    most = _WINDOW_TOKENS * _WINDOWS * ledger.batch_texts()
    yield Compared("sentq_tokens_total", tokens.get(("padding",)), Between(0, most))
    if worker.has_cache:
        counts = {"hits": ledger.hits, "misses": ledger.misses, "forged": 0, "errors": 0}
        for part, number in counts.items():
            name = f"sentq_cache_{part}_total"
            yield Compared(name, seen.one(name), float(number))


def of_redis(
    prometheus: PrometheusServer,
    server: redis.Redis,
    workers: Iterable[WatchedWorker],
    *,
    states: Mapping[str, int],
    oldest_sent_s: float | None = None,
) -> Iterator[Compared]:
    """Compare all metrics of the exporter but the drain time.

    Args:
        prometheus: It scrapes the exporter.
        server: A connection with all rights.
        workers: The workers that report.
        states: How many of them are in which state.
        oldest_sent_s: When the oldest job was sent that waits or is in flight, in Unix seconds;
            None without such a job.
    """
    yield Compared("sentq_redis_up", prometheus.value("sentq_redis_up"), 1.0)
    waiting = waiting_jobs(server)
    jobs = prometheus.values("sentq_queue_jobs", "queue", "priority")
    yield Compared("sentq_queue_jobs", jobs, waiting)
    yield from _of_ages(prometheus, waiting, oldest_sent_s)
    yield from _of_backlog(prometheus, server, sum(waiting.values()), workers)

    letters = cast("list[tuple[bytes, dict[bytes, bytes]]]", server.xrange("sentq.dead"))
    codes = Counter((fields[b"code"].decode(),) for _, fields in letters)
    seen = prometheus.values("sentq_dead_letters", "code")
    yield Compared("sentq_dead_letters", _without_zeros(seen), codes)
    expected = {(state,): states.get(state, 0) for state in ("idle", "busy", "unavailable")}
    yield Compared("sentq_workers", prometheus.values("sentq_workers", "state"), expected)
    differences = prometheus.values("sentq_worker_disagreements", "topic")
    yield Compared("sentq_worker_disagreements", _without_zeros(differences), {})

    webhooks = {
        ("waiting",): server.zcard("sentq.webhooks.due") + server.llen("sentq.webhooks"),
        ("dead",): server.zcard("sentq.webhooks.dead"),
    }
    yield Compared("sentq_webhooks", prometheus.values("sentq_webhooks", "place"), webhooks)

    memory = server.info("memory")
    used = memory["used_memory"]
    name = "sentq_redis_memory_used_bytes"
    yield Compared(name, prometheus.value(name), Between(used * 0.8, used * 1.25))
    name = "sentq_redis_memory_max_bytes"
    yield Compared(name, prometheus.value(name), memory["maxmemory"])


def waiting_jobs(server: redis.Redis) -> dict[tuple[str, str], int]:
    """Return the length of each list in Redis, by queue and priority."""
    return {
        (queue, priority): server.llen(f"{queue}{suffix}")
        for queue in _QUEUES
        for priority, suffix in _LISTS.items()
    }


def _of_ages(
    prometheus: PrometheusServer,
    waiting: Mapping[tuple[str, str], int],
    oldest_sent_s: float | None,
) -> Iterator[Compared]:
    age: object = 0.0
    if oldest_sent_s is not None:
        age_s = time.time() - oldest_sent_s
        age = Between(age_s - _REPORTED_S, age_s + 1)
    yield Compared("sentq_oldest_seconds", prometheus.value("sentq_oldest_seconds"), age)
    oldest = prometheus.values("sentq_queue_oldest_seconds", "queue")
    for queue in _QUEUES:
        has_some = any(number for (name, _), number in waiting.items() if name == queue)
        expected = age if has_some else 0.0
        yield Compared("sentq_queue_oldest_seconds", oldest.get((queue,)), expected)


def _of_backlog(
    prometheus: PrometheusServer,
    server: redis.Redis,
    waiting: int,
    workers: Iterable[WatchedWorker],
) -> Iterator[Compared]:
    unacked = server.zcard("unacked_index")
    scheduled = server.zcard("sentq.scheduled")
    later = server.zcount("sentq.scheduled", (time.time() + 60) * 1000, "+inf")
    backlog = waiting + unacked + scheduled
    for metric, number in {
        "sentq_unacked_jobs": unacked,
        "sentq_scheduled_jobs": scheduled,
        "sentq_backlog_jobs": backlog,
        "sentq_ready_jobs": backlog - later,
    }.items():
        yield Compared(metric, prometheus.value(metric), number)
    # A job has as many texts as those that the live workers have completed; without any, one here.
    entries = [entry for worker in workers for entry in worker.ledger.entries]
    texts_per_job = sum(len(entry.texts) for entry in entries) / len(entries) if entries else 1.0
    texts = backlog * texts_per_job
    name = "sentq_backlog_texts"
    yield Compared(name, prometheus.value(name), Between(texts * 0.95 - 1, texts * 1.05 + 1))


def _without_zeros(values: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {key: number for key, number in values.items() if number}


def _of_queues(
    values: Mapping[tuple[str, ...], float], queues: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], float]:
    names = {queue for (queue,) in queues}
    return {key: number for key, number in values.items() if key[0] in names}
