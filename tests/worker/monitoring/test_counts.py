"""Histograms, the counts of jobs, and the counts of engines."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from prometheus_client import CollectorRegistry, Histogram

from sentq.errors import TooManyTokens
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import EngineCounts, counts_of
from sentq_worker.monitoring import histogram
from sentq_worker.monitoring.history import history_totals
from sentq_worker.monitoring.job_counts import SECONDS, CountedEnd, JobCounts, Redelivery
from sentq_worker.monitoring.predictions import SCORES, ModelKey
from sentq_worker.providers.local import LocalProvider
from sentq_worker.scoring.batcher import Batcher
from tests.support.models.engines import ScriptedEngine, window


def _of_the_library(values: list[float], bounds: tuple[float, ...]) -> tuple[list[float], float]:
    registry = CollectorRegistry()
    theirs = Histogram("h", "h", buckets=bounds, registry=registry)
    for value in values:
        theirs.observe(value)
    (family,) = registry.collect()
    counts = [sample.value for sample in family.samples if sample.name == "h_bucket"]
    return counts, sum(values)


@pytest.mark.parametrize("plus", [0.0, 0.05, 400.0])
def test_a_histogram_counts_as_that_of_the_client_library(plus: float) -> None:
    source = random.Random(7)
    values = sorted([source.choice(SECONDS) for _ in range(40)] + [1e-4, 1799.9, 1e5])
    shifted = [value + plus for value in values]
    one, many = histogram.Histogram(SECONDS), histogram.Histogram(SECONDS)
    for value in shifted:
        one.add(value)
    many.add_sorted(values, plus=plus)
    counts, total = _of_the_library(shifted, SECONDS)
    assert list(one.read().counts) == counts
    assert one.read().sum == pytest.approx(total)
    # A value that lies on a bound may move across it by rounding, when something is added to it.
    if not plus:
        assert many.read() == one.read()
    assert many.read().counts[-1] == len(values)
    assert many.read().sum == pytest.approx(total)


@dataclass
class _Delivered:
    delivery_info: dict[str, Any]
    lost_deliveries: int = 0


@dataclass
class _Results:
    rows: list[Any] = field(default_factory=list)

    def add(self, queue: object, outcomes: list[dict[str, object]], **more: Any) -> None:
        job = _Delivered({"routing_key": queue, "redelivered": more.pop("redelivered", False)})
        job.lost_deliveries = more.pop("lost", 0)
        scored = [{"score": 0.75} | each if "label" in each else each for each in outcomes]
        own = {"model": "m", "revision": "r", "attempts": 1, "queued_ms": 5.0}
        result = {"outcomes": scored} | own | more
        self.rows.append((job, result))

    def fail(self, queue: str, error: Exception) -> None:
        self.rows.append((_Delivered({"routing_key": queue}), error))


def test_jobs_are_counted_by_queue_and_end_and_texts_by_code() -> None:
    counts, results = JobCounts(), _Results()
    counts.name_queues(["sentq", "sentq.bulk"])
    results.add("sentq", [{"label": "positive"}, {"code": "empty"}], attempts=2, redelivered=True)
    unread = {"label": "negative", "language": "de", "language_supported": False}
    results.add("sentq.bulk", [unread], queued_ms=None)
    results.add("sentq", [{"code": "empty"}], attempts=2, redelivered=True, lost=1)
    results.fail("sentq", TooManyTokens("too many"))
    results.fail("sentq.bulk", TaskRevokedError("revoked"))
    counts.add_completed(results.rows, since_start_s=0.01)
    counts.add_batch(seconds=0.02, texts=4)
    counts.add_redeliveries(Redelivery.LEASE_EXPIRED, 3)
    read = counts.read()
    assert {key: number for key, number in read.jobs.items() if number} == {
        ("sentq", CountedEnd.DONE): 2,
        ("sentq", CountedEnd.FAILED): 1,
        ("sentq.bulk", CountedEnd.DONE): 1,
        ("sentq.bulk", CountedEnd.CANCELLED): 1,
    }
    assert {code: n for code, n in read.texts.items() if n} == {"": 2, "empty": 2}
    assert counts.texts_finished == 4
    assert read.other_language_texts == 1
    assert read.redeliveries == {"lease_expired": 3, "device_lost": 0, "put_back": 1}
    assert read.queue_seconds["sentq"].counts[-1] == 2
    assert read.queue_seconds["sentq"].sum == pytest.approx(0.010)
    assert read.job_seconds["sentq"].sum == pytest.approx(0.030)
    assert read.queue_seconds["sentq.bulk"].counts[-1] == 0, "its id does not tell"
    assert read.batch_texts.sum == 4


def test_the_counts_are_fields_of_the_history() -> None:
    counts, results = JobCounts(), _Results()
    counts.name_queues(["sentq"])
    results.add("sentq", [{"label": "positive"}, {"code": "empty"}])
    results.add("sentq", [{"label": "positive"}], queued_ms=2e6)
    results.fail("sentq", TooManyTokens("too many"))
    counts.add_completed(results.rows, since_start_s=0.01)
    totals = {name: total for name, total in history_totals(counts.read()).items() if total}
    assert totals == {
        "texts": 3,
        "jobs:done:sentq": 2,
        "jobs:failed:sentq": 1,
        "seconds:0.01:0.025:sentq": 1,
        "seconds:1800:inf:sentq": 1,
    }


def test_queues_that_a_message_invents_share_one_label() -> None:
    counts, results = JobCounts(), _Results()
    counts.name_queues(["sentq"])
    invented: list[object] = [f"invented {n}" for n in range(500)]
    for queue in [*invented, ["a", "list"], {}, None, 7]:
        results.add(queue, [{"label": "positive"}])
    counts.add_completed(results.rows, since_start_s=0.0)
    read = counts.read()
    assert {queue for queue, _ in read.jobs} == {"sentq", "other"}
    assert read.jobs["other", CountedEnd.DONE] == 504
    assert set(read.queue_seconds) == {"sentq", "other"}


def test_labels_and_scores_are_counted_by_the_model_that_gave_them() -> None:
    counts, results = JobCounts(), _Results()
    texts: list[dict[str, object]] = [
        {"label": "positive", "score": 0.97},
        {"label": "positive", "score": 0.4, "model": "other", "revision": None},
        {"code": "empty"},
    ]
    results.add("sentq", texts)
    results.add("sentq", [{"label": "negative", "score": 0.55}])
    results.add("sentq", [{"label": "positive", "score": 0.5}], revision=None)
    results.fail("sentq", TooManyTokens("too many"))
    counts.add_completed(results.rows, since_start_s=0.0)
    read = counts.read().predictions
    assert {model: dict(each.labels) for model, each in read.items()} == {
        ("m", "r"): {"positive": 1, "negative": 1},
        ("other", ""): {"positive": 1},
        ("m", ""): {"positive": 1},
    }
    up_to = dict(zip(SCORES, read[ModelKey("m", "r")].scores.counts, strict=False))
    assert up_to == {0.4: 0, 0.5: 0, 0.6: 1, 0.7: 1, 0.8: 1, 0.9: 1, 0.95: 1, 0.99: 2, 1.0: 2}
    assert read[ModelKey("m", "r")].scores.sum == pytest.approx(1.52)


def test_a_model_with_many_labels_has_few_series() -> None:
    counts, results = JobCounts(), _Results()
    results.add("sentq", [{"label": f"label {n}"} for n in range(100)])
    results.add("sentq", [{"label": "label 3"}])
    counts.add_completed(results.rows, since_start_s=0.0)
    labels = counts.read().predictions[ModelKey("m", "r")].labels
    assert len(labels) == 17
    assert (labels["label 3"], labels["other"]) == (2, 84)


@pytest.mark.parametrize("pads", [True, False])
def test_the_batcher_counts_the_tokens_of_texts_and_padding(*, pads: bool) -> None:
    engine = ScriptedEngine(pads=pads)
    batcher = Batcher(engine, batch_tokens=12)
    windows = [window(*range(1, length + 1)) for length in (1, 2, 5, 4)]
    batcher.predict(windows)
    padding = sum(
        len(batch) * max(len(each.token_ids) for each in batch)
        - sum(len(each.token_ids) for each in batch)
        for batch in engine.batches
    )
    assert batcher.tokens == {"text": 12, "padding": padding if pads else 0}


def test_what_a_released_scorer_has_counted_stays() -> None:
    class TokenCountingScorer:
        engine = ScriptedEngine()
        counts = EngineCounts(tokens=Counter(text=5, padding=0))

        def score(self, jobs: Any) -> Any:
            raise NotImplementedError

    local = LocalProvider(TokenCountingScorer)
    local.start()
    local.start()
    assert counts_of(local).tokens == {"text": 10, "padding": 0}
    assert counts_of(object()) == EngineCounts()
    assert isinstance(local.info, EngineInfo)
