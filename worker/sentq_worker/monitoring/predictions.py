"""How labels and scores are distributed, by the model that gave them, to compare over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, TypedDict

from sentq_worker.monitoring.histogram import BucketCounts, Histogram

__all__ = ["SCORES", "CountedOutcomes", "CountedPredictions", "ModelKey", "PredictionCounts"]

#: The bounds of scores. A label of three has at least a third.
SCORES: Final = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

#: The most labels of a model that are counted by name; the label of the others.
_MAX_LABELS: Final = 16
_OTHER: Final = "other"

_LABEL: Final = itemgetter("label")
_SCORE: Final = itemgetter("score")


class ModelKey(NamedTuple):
    """A model and its revision, as outcomes name them; an unknown revision is empty."""

    model: str
    revision: str


class CountedOutcomes(TypedDict):
    """The part of a job's outcomes that tells who predicted what."""

    outcomes: list[dict[str, object]]
    model: str
    revision: str | None


class CountedPredictions(NamedTuple):
    """The predictions of a model at one moment.

    Attributes:
        labels: How many there are of each label.
        scores: The scores of these labels.
    """

    labels: Mapping[str, int]
    scores: BucketCounts


class PredictionCounts:
    """Counts predictions. One thread at a time may use it."""

    def __init__(self) -> None:
        self._labels: defaultdict[ModelKey, Counter[str]] = defaultdict(Counter)
        self._scores: defaultdict[ModelKey, Histogram] = defaultdict(lambda: Histogram(SCORES))

    def add(self, results: Iterable[CountedOutcomes]) -> None:
        """Count the predictions among the outcomes of jobs."""
        found: defaultdict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
        for result in results:
            found[result["model"], result["revision"] or ""] += result["outcomes"]
        for (model, revision), outcomes in found.items():
            own = [each for each in outcomes if "label" in each and "model" not in each]
            self._add(ModelKey(model, revision), own)
            for routed in [each for each in outcomes if "model" in each]:
                self._add(_own_model(routed), [routed])

    def _add(self, key: ModelKey, predictions: Sequence[Mapping[str, object]]) -> None:
        if not predictions:
            return
        counted = self._labels[key]
        for label, number in Counter(map(_LABEL, predictions)).items():
            is_named = label in counted or len(counted) < _MAX_LABELS
            counted[label if is_named else _OTHER] += number
        self._scores[key].add_sorted(sorted(map(_SCORE, predictions)))

    def read(self) -> dict[ModelKey, CountedPredictions]:
        """Return what was counted so far, by model."""
        return {
            key: CountedPredictions(dict(labels), self._scores[key].read())
            for key, labels in self._labels.items()
        }


def _own_model(outcome: Mapping[str, object]) -> ModelKey:
    """Return the model of a text that was sent to another one than its job."""
    return ModelKey(str(outcome["model"]), str(outcome.get("revision") or ""))
