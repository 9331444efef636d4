"""What a worker must have counted, from the outcomes of a test's own jobs alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sentq.contract import JobOutcome, Prediction, TextError
from sentq_worker.monitoring.job_counts import SECONDS

__all__ = ["Ledger", "LedgerEntry"]

#: A text with this error was in no batch.
_NOT_COMPUTED: Final = "deadline_passed"

#: The values of a metric, by those of its labels.
_Labelled = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A job of the test with its outcome."""

    texts: Sequence[str]
    queue: str
    outcome: JobOutcome


@dataclass(slots=True)
class Ledger:
    """The jobs that one worker has completed. Each worker of a test has a model of its own, which
    the outcomes name.

    Attributes:
        tokens: Returns the number of tokens of a text; None if the model reads none.
        entries: The jobs.
        hits: How many texts had been scored before.
        misses: How many had not.
    """

    tokens: Callable[[str], int] | None = None
    entries: list[LedgerEntry] = field(default_factory=list)
    hits: int = 0
    misses: int = 0
    _scored: set[str] = field(default_factory=set)

    def add(self, texts: Sequence[str], queue: str, outcome: JobOutcome) -> None:
        """Add a job that this worker has completed."""
        self.entries.append(LedgerEntry(texts, queue, outcome))
        for text, row in zip(texts, outcome.outcomes, strict=True):
            if not _is_late(row):
                self.hits += text in self._scored
                self.misses += text not in self._scored
            if isinstance(row, Prediction):
                self._scored.add(text)

    def jobs(self) -> _Labelled:
        """`sentq_jobs_total` of jobs that are done, by queue."""
        return dict(Counter((entry.queue,) for entry in self.entries))

    def texts(self) -> _Labelled:
        """`sentq_texts_total`, by outcome and code."""
        rows = [row for entry in self.entries for row in entry.outcome.outcomes]
        ends = (
            ("error", str(row.code)) if isinstance(row, TextError) else ("scored", "")
            for row in rows
        )
        return dict(Counter(ends))

    def other_language_texts(self) -> float:
        """`sentq_other_language_texts_total`: predictions in a language that the model does not
        read."""
        rows = [row for entry in self.entries for row in entry.outcome.outcomes]
        return float(
            sum(isinstance(row, Prediction) and row.language_supported is False for row in rows)
        )

    def labels(self) -> _Labelled:
        """`sentq_predictions_total`, by model and label."""
        return dict(Counter((model, row.label) for model, row in self._predictions()))

    def scores(self) -> dict[tuple[str, ...], list[float]]:
        """The values of `sentq_prediction_score`, by model."""
        found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for model, row in self._predictions():
            found[model,].append(row.score)
        return dict(found)

    def _predictions(self) -> Iterator[tuple[str, Prediction]]:
        for entry in self.entries:
            for row in entry.outcome.outcomes:
                if isinstance(row, Prediction):
                    yield row.model or entry.outcome.model, row

    def text_tokens(self) -> float:
        """`sentq_tokens_total` of the kind `text`: a model reads each text once, then its
        prediction is cached."""
        return 0.0 if self.tokens is None else float(sum(map(self.tokens, self._scored)))

    def batches_s(self) -> set[float]:
        """How long each batch took, in seconds: all of its jobs say the same."""
        times_ms = {entry.outcome.inference_ms for entry in self.entries}
        return {time_ms / 1000 for time_ms in times_ms if time_ms}

    def batch_seconds_buckets(self) -> _Labelled:
        """`sentq_batch_seconds_bucket`, by the bound."""
        return {(name,): n for name, n in _buckets(self.batches_s()).items()}

    def computed_s(self, queue: str) -> float:
        """The times of their batches, added up over the jobs that tell when they were sent."""
        return sum(
            entry.outcome.inference_ms / 1000
            for entry in self.entries
            if entry.queue == queue and entry.outcome.queued_ms is not None
        )

    def batch_texts(self) -> float:
        """`sentq_batch_texts_sum`."""
        rows = [row for entry in self.entries for row in entry.outcome.outcomes]
        return float(sum(not _is_late(row) for row in rows))

    def queue_seconds(self) -> dict[tuple[str, ...], list[float]]:
        """How long jobs waited, by queue; without those of which that is not known."""
        found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for entry in self.entries:
            if entry.outcome.queued_ms is not None:
                found[entry.queue,].append(entry.outcome.queued_ms / 1000)
        return dict(found)

    def queue_seconds_buckets(self) -> _Labelled:
        """`sentq_job_queue_seconds_bucket`, by queue and bound."""
        return {
            (*queue, bound): number
            for queue, values in self.queue_seconds().items()
            for bound, number in _buckets(values).items()
        }


def _buckets(values: Iterable[float]) -> dict[str, float]:
    known = list(values)
    return {f"{bound:g}": float(sum(value <= bound for value in known)) for bound in SECONDS}


def _is_late(row: Prediction | TextError) -> bool:
    return isinstance(row, TextError) and row.code == _NOT_COMPUTED
