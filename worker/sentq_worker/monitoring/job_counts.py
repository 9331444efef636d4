"""What a worker counts of its jobs: once for each batch, under one lock."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final, Protocol

from celery.exceptions import TaskRevokedError

from sentq.contract import ErrorCode
from sentq_worker.monitoring.histogram import BucketCounts, Histogram
from sentq_worker.monitoring.predictions import (
    CountedOutcomes,
    CountedPredictions,
    ModelKey,
    PredictionCounts,
)

__all__ = [
    "SECONDS",
    "TEXTS",
    "CountedEnd",
    "CountedJob",
    "JobCounts",
    "JobCountsReading",
    "Redelivery",
]

#: The bounds of durations, in seconds: from a single text on a GPU to a backlog of half an hour.
SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)

#: The bounds of the number of texts in a batch.
TEXTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

#: The queue of a message whose header names one that this worker does not read. Senders write that
#: header, so it must not become a label.
_OTHER_QUEUE: Final = "other"


class CountedEnd(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Redelivery(StrEnum):
    """Why a job was delivered again."""

    #: Its worker was lost: this worker found the expired lease, and requeued the job.
    LEASE_EXPIRED = "lease_expired"
    #: This worker lost its device, and requeued the job.
    DEVICE_LOST = "device_lost"
    #: A worker that ended, or lost its connection, put it back, and this one has completed it.
    PUT_BACK = "put_back"


class CountedJob(Protocol):
    """The part of a job that is counted."""

    @property
    def delivery_info(self) -> Mapping[str, object]: ...

    @property
    def lost_deliveries(self) -> int: ...


class _Outcomes(CountedOutcomes):
    """The part of a job's outcomes that is counted."""

    attempts: int
    queued_ms: float | None


@dataclass(frozen=True, slots=True)
class JobCountsReading:
    """The counts at one moment.

    Attributes:
        jobs: Completed jobs, by queue and how they ended.
        texts: Texts with an outcome, by the code of their error; "" for a prediction.
        other_language_texts: Texts with a prediction whose language the model does not read.
        redeliveries: By reason.
        queue_seconds: By queue, how long jobs waited from sending until a batch began with them.
        job_seconds: By queue, how long it took from sending until the outcome was stored.
        batch_seconds: How long the engine computed a batch.
        batch_texts: How many texts a batch had.
        predictions: Their labels and scores, by model.
    """

    jobs: Mapping[tuple[str, CountedEnd], int]
    texts: Mapping[str, int]
    other_language_texts: int
    redeliveries: Mapping[Redelivery, int]
    queue_seconds: Mapping[str, BucketCounts]
    job_seconds: Mapping[str, BucketCounts]
    batch_seconds: BucketCounts
    batch_texts: BucketCounts
    predictions: Mapping[ModelKey, CountedPredictions]


class JobCounts:
    """Counts jobs. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: set[str] = set()
        self._jobs: Counter[tuple[str, CountedEnd]] = Counter()
        # A code that appeared with its first error would hide that error from rates.
        self._texts: Counter[str] = Counter(dict.fromkeys(("", *map(str, ErrorCode)), 0))
        self._other_language_texts = 0
        self._redeliveries: Counter[Redelivery] = Counter(dict.fromkeys(Redelivery, 0))
        self._queue_seconds: dict[str, Histogram] = {}
        self._job_seconds: dict[str, Histogram] = {}
        self._batch_seconds = Histogram(SECONDS)
        self._batch_texts = Histogram(TEXTS)
        self._predictions = PredictionCounts()

    def name_queues(self, queues: Collection[str]) -> None:
        """Count jobs of these queues under their names from now on."""
        with self._lock:
            self._queues |= set(queues)
            for queue in queues:
                for end in CountedEnd:
                    self._jobs[queue, end] += 0
                self._queue_seconds.setdefault(queue, Histogram(SECONDS))
                self._job_seconds.setdefault(queue, Histogram(SECONDS))

    @property
    def jobs_finished(self) -> int:
        """How many jobs were completed."""
        with self._lock:
            return sum(self._jobs.values())

    @property
    def texts_finished(self) -> int:
        """How many texts have an outcome."""
        with self._lock:
            return sum(self._texts.values())

    def add_batch(self, *, seconds: float, texts: int) -> None:
        """Count a batch that the engine has computed."""
        with self._lock:
            self._batch_seconds.add(seconds)
            self._batch_texts.add(texts)

    def add_completed(
        self, results: Sequence[tuple[CountedJob, _Outcomes | Exception]], *, since_start_s: float
    ) -> None:
        """Count jobs whose outcomes are stored.

        Args:
            results: The jobs of one batch, each with its outcomes, or with the error for which
                it failed as a whole.
            since_start_s: How long ago their batch began.
        """
        waits_ms: defaultdict[object, list[float | None]] = defaultdict(list)
        failed: Counter[tuple[object, CountedEnd]] = Counter()
        done: list[_Outcomes] = []
        put_back = 0
        for job, result in results:
            queue = job.delivery_info.get("routing_key")
            if type(queue) is not str:  # It may not even be hashable.
                queue = _OTHER_QUEUE
            if isinstance(result, Exception):
                is_revoked = isinstance(result, TaskRevokedError)
                failed[queue, CountedEnd.CANCELLED if is_revoked else CountedEnd.FAILED] += 1
                continue
            done.append(result)
            if result["attempts"] != 1:
                is_put_back = job.delivery_info.get("redelivered") and not job.lost_deliveries
                put_back += bool(is_put_back)
            waits_ms[queue].append(result["queued_ms"])
        outcomes = list(chain.from_iterable([result["outcomes"] for result in done]))
        errors = [str(outcome["code"]) for outcome in outcomes if "code" in outcome]
        known = [each["language_supported"] for each in outcomes if "language" in each]
        with self._lock:
            self._texts[""] += len(outcomes) - len(errors)
            self._texts.update(errors)
            self._other_language_texts += known.count(False)
            self._predictions.add(done)
            self._redeliveries[Redelivery.PUT_BACK] += put_back
            for (queue_name, end), count in failed.items():
                self._jobs[self._label(queue_name), end] += count
            for queue_name, waits in waits_ms.items():
                self._add_done(self._label(queue_name), waits, since_start_s)

    def add_redeliveries(self, reason: Redelivery, jobs: int) -> None:
        """Count jobs that this worker has requeued."""
        with self._lock:
            self._redeliveries[reason] += jobs

    def read(self) -> JobCountsReading:
        """Return what was counted so far."""
        with self._lock:
            return JobCountsReading(
                jobs=dict(self._jobs),
                texts=dict(self._texts),
                other_language_texts=self._other_language_texts,
                redeliveries=dict(self._redeliveries),
                queue_seconds={name: one.read() for name, one in self._queue_seconds.items()},
                job_seconds={name: one.read() for name, one in self._job_seconds.items()},
                batch_seconds=self._batch_seconds.read(),
                batch_texts=self._batch_texts.read(),
                predictions=self._predictions.read(),
            )

    def _add_done(self, queue: str, waits: Sequence[float | None], since_start_s: float) -> None:
        self._jobs[queue, CountedEnd.DONE] += len(waits)
        known_s = sorted([wait_ms / 1000 for wait_ms in waits if wait_ms is not None])
        if not known_s:
            return  # No id of these jobs tells when it was sent.
        for histograms, plus_s in ((self._queue_seconds, 0.0), (self._job_seconds, since_start_s)):
            if (histogram := histograms.get(queue)) is None:
                histogram = histograms[queue] = Histogram(SECONDS)
            histogram.add_sorted(known_s, plus=plus_s)

    def _label(self, queue: object) -> str:
        return str(queue) if queue in self._queues else _OTHER_QUEUE
