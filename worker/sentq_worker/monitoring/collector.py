"""The metrics of a worker, in the form of the client library of Prometheus.

Nothing is kept in that library: each scrape makes the families of what the worker has counted. No
label is open-ended: queues are those that the worker reads, all else is one of a fixed list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from sentq.version import VERSION
from sentq.wire.roll.report import RollStage
from sentq_worker.engine.counts import BudgetUse
from sentq_worker.monitoring.histogram import BucketCounts
from sentq_worker.monitoring.job_counts import SECONDS, TEXTS, JobCounts, JobCountsReading
from sentq_worker.monitoring.predictions import SCORES, CountedPredictions, ModelKey
from sentq_worker.monitoring.reading import EngineReading

__all__ = ["WorkerCollector"]

#: The states of a circuit breaker. Each has a series, which is 1 for the present one.
_BREAKER_STATES = ("closed", "open", "half_open", "stopped")

#: What the cache of predictions counts: the key, the metric, its help.
_CACHE = (
    ("hits", "sentq_cache_hits", "Texts whose prediction was in the cache."),
    ("misses", "sentq_cache_misses", "Texts whose prediction was not in the cache."),
    ("forged", "sentq_cache_forged", "Cached predictions written without the secret, not used."),
    ("errors", "sentq_cache_errors", "Failures of Redis after which the cache was not used."),
)


class WorkerCollector(Collector):
    """Makes the metrics of one worker.

    Args:
        counts: What the worker has counted of its jobs.
        read: Returns the state of the engine. Called in the threads of the server.
    """

    def __init__(self, counts: JobCounts, read: Callable[[], EngineReading]) -> None:
        self._counts = counts
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield all families, for one scrape."""
        yield from _job_families(self._counts.read())
        yield from _engine_families(self._read())


def _job_families(counts: JobCountsReading) -> Iterator[Metric]:
    jobs = CounterMetricFamily(
        "sentq_jobs", "Completed jobs, with their outcomes stored.", labels=("queue", "outcome")
    )
    for (queue, end), number in sorted(counts.jobs.items()):
        jobs.add_metric((queue, end), number)
    yield jobs
    texts = CounterMetricFamily(
        "sentq_texts",
        "Texts with an outcome: a prediction, or an error of this code.",
        labels=("outcome", "code"),
    )
    for code, number in sorted(counts.texts.items()):
        texts.add_metric(("error" if code else "scored", code), number)
    yield texts
    yield CounterMetricFamily(
        "sentq_other_language_texts",
        "Texts that were scored in a language that the model does not read.",
        counts.other_language_texts,
    )
    yield from _prediction_families(counts.predictions)
    redeliveries = CounterMetricFamily(
        "sentq_redeliveries", "Jobs that were delivered again.", labels=("reason",)
    )
    for reason, number in sorted(counts.redeliveries.items()):
        redeliveries.add_metric((reason,), number)
    yield redeliveries
    yield _histograms(
        "sentq_job_queue_seconds",
        "From sending a job until a batch began with it.",
        SECONDS,
        counts.queue_seconds,
    )
    yield _histograms(
        "sentq_job_seconds",
        "From sending a job until its outcome was stored.",
        SECONDS,
        counts.job_seconds,
    )
    yield _histogram(
        "sentq_batch_seconds",
        "How long the engine computed a batch of jobs.",
        SECONDS,
        counts.batch_seconds,
    )
    yield _histogram("sentq_batch_texts", "Texts of a batch of jobs.", TEXTS, counts.batch_texts)


def _prediction_families(
    predictions: Mapping[ModelKey, CountedPredictions],
) -> Iterator[Metric]:
    """Yield the distribution of labels and scores. Models are those of the worker's settings."""
    names = ModelKey._fields
    labels = CounterMetricFamily(
        "sentq_predictions",
        "Texts with a prediction of this model, by its label.",
        labels=(*names, "label"),
    )
    scores = HistogramMetricFamily(
        "sentq_prediction_score", "The score of the label of a prediction.", labels=names
    )
    for model, counted in sorted(predictions.items()):
        for label, number in sorted(counted.labels.items()):
            labels.add_metric((*model, label), number)
        scores.add_metric(model, _buckets(SCORES, counted.scores), counted.scores.sum)
    yield from (labels, scores)


def _engine_families(engine: EngineReading) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sentq_jobs_in_flight", "Jobs taken and not completed.", engine.in_flight_jobs
    )
    yield CounterMetricFamily(
        "sentq_engine_busy_seconds", "How long the engine has computed.", engine.busy_s
    )
    tokens = CounterMetricFamily(
        "sentq_tokens", "Tokens that the local model has read.", labels=("kind",)
    )
    for kind in ("text", "padding"):
        tokens.add_metric((kind,), engine.counts.tokens[kind])
    yield tokens
    yield from _model_families(engine)
    yield from _roll_families(engine)
    breakers = GaugeMetricFamily(
        "sentq_breaker_state",
        "1 for the present state of a circuit breaker, 0 for the others.",
        labels=("breaker", "state"),
    )
    for breaker, present in sorted(engine.breakers.items()):
        for state in _BREAKER_STATES:
            breakers.add_metric((breaker, state), state == present)
    yield breakers
    calls = CounterMetricFamily(
        "sentq_hub_calls", "Calls of the Hub that were made.", labels=("result",)
    )
    for result, number in sorted(engine.counts.hub_calls.items()):
        calls.add_metric((result,), number)
    yield calls
    yield from _budget_families(engine.counts.hub_budget)
    for key, name, help_ in _CACHE:
        family = CounterMetricFamily(name, help_, labels=())
        if key in engine.counts.cache:
            family.add_metric((), engine.counts.cache[key])
        yield family
    info = InfoMetricFamily("sentq_worker", "The worker's engine and version.", labels=())
    if engine.engine is not None:
        info.add_metric(
            (),
            {
                "model": engine.engine.model,
                "revision": engine.engine.revision or "",
                "device": engine.engine.backend,
                "dtype": engine.engine.dtype,
                "version": VERSION,
            },
        )
    yield info


def _model_families(engine: EngineReading) -> Iterator[Metric]:
    """Yield what is known of each local model. Its name is one of the worker's settings."""
    texts = CounterMetricFamily(
        "sentq_model_texts", "Texts with an outcome of this local model.", labels=("name",)
    )
    for name, number in sorted(engine.counts.model_texts.items()):
        texts.add_metric((name,), number)
    yield texts
    models = InfoMetricFamily("sentq_model", "The local models of the worker.", labels=("name",))
    for name, info in engine.models.items():
        about = {"model": info.model, "revision": info.revision or "", "dtype": info.dtype}
        models.add_metric((name,), about)
    yield models


def _roll_families(engine: EngineReading) -> Iterator[Metric]:
    """Yield how a roll goes. There are no series if no model can be rolled."""
    stages = GaugeMetricFamily(
        "sentq_roll_state",
        "1 for how far the worker is with the models that shall serve, 0 for the other stages.",
        labels=("stage",),
    )
    failures = CounterMetricFamily(
        "sentq_candidate_failures",
        "Jobs on which the candidate of a roll failed, so that the serving model scored them.",
        labels=(),
    )
    texts = CounterMetricFamily(
        "sentq_shadow_texts",
        "Texts that the candidate has scored in the shadow of the serving model.",
        labels=("result",),
    )
    difference = SummaryMetricFamily(
        "sentq_shadow_score_difference",
        "Difference between the scores of both models: 0 if they are the same, 1 at most.",
        labels=(),
    )
    if engine.roll is not None:
        for stage in RollStage:
            stages.add_metric((stage,), stage is engine.roll.stage)
        counts = engine.counts
        failures.add_metric((), counts.candidate_failures)
        for result, number in sorted(counts.shadow_texts.items()):
            texts.add_metric((result,), number)
        compared = counts.shadow_texts["agreed"] + counts.shadow_texts["differed"]
        difference.add_metric((), compared, counts.shadow_difference)
    yield from (stages, failures, texts, difference)


def _budget_families(uses: Sequence[BudgetUse]) -> Iterator[Metric]:
    labels = ("period", "unit")
    used = GaugeMetricFamily(
        "sentq_hub_budget_used",
        "Calls or characters that all workers have used of the Hub's budget.",
        labels=labels,
    )
    limit = GaugeMetricFamily(
        "sentq_hub_budget_limit", "Most calls or characters of the Hub's budget.", labels=labels
    )
    for use in uses:
        used.add_metric((use.period, use.unit), use.used)
        limit.add_metric((use.period, use.unit), use.limit)
    yield used
    yield limit


def _histogram(name: str, help_: str, bounds: Sequence[float], read: BucketCounts) -> Metric:
    family = HistogramMetricFamily(name, help_)
    family.add_metric((), _buckets(bounds, read), read.sum)
    return family


def _histograms(
    name: str, help_: str, bounds: Sequence[float], by_queue: Mapping[str, BucketCounts]
) -> Metric:
    family = HistogramMetricFamily(name, help_, labels=("queue",))
    for queue, read in sorted(by_queue.items()):
        family.add_metric((queue,), _buckets(bounds, read), read.sum)
    return family


def _buckets(bounds: Sequence[float], read: BucketCounts) -> list[tuple[str, float]]:
    named = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    return list(zip(named, map(float, read.counts), strict=True))
