"""Score rows by the worker's own scorer, as it would score a job with these texts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sentq.contract import Prediction
from sentq_worker.training.data.rows import shown_labels
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentq.contract import Outcome
    from sentq_worker.training.data.rows import Rows

__all__ = ["ScoredRows", "TextScorer", "check_labels", "outcomes_of", "score_rows"]

#: Texts per call: enough to sort by length, and few enough for a progress bar that moves.
_CHUNK_TEXTS = 512


class TextScorer(Protocol):
    """The part of the worker's `EngineScorer` that the evaluation uses."""

    @property
    def label_names(self) -> tuple[str, ...]: ...

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]: ...


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The predictions of the rows that could be scored.

    `row_numbers` count from 0 and ascend; `probabilities` (in the order of `labels`) and `targets`
    have the same order. `errors` counts the rows without a prediction, which are in no figure.
    """

    labels: tuple[str, ...]
    row_numbers: list[int]
    probabilities: list[list[float]]
    targets: list[int]
    errors: int
    texts_per_s: float

    @property
    def predicted(self) -> list[int]:
        """The number of the most likely label of each row."""
        return [max(range(len(row)), key=row.__getitem__) for row in self.probabilities]


def check_labels(rows: Rows, labels: Sequence[str]) -> None:
    """Check that the model has all labels of the rows.

    Raises:
        TrainingDataError: The rows have a label that the model lacks.
    """
    if unknown := set(rows.labels) - set(labels):
        raise TrainingDataError(
            f"{rows.name} has labels that the model lacks: {shown_labels(unknown)}; "
            f"the model's are {', '.join(labels)}. --label-map OLD=NEW renames them, "
            "--label-map OLD= drops their rows"
        )


def score_rows(rows: Rows, scorer: TextScorer, *, advance: Callable[[int], None]) -> ScoredRows:
    """Score all rows; `check_labels` must have accepted their labels.

    Args:
        advance: Called with the number of rows scored since the last call.

    Raises:
        TrainingDataError: No row has a prediction.
    """
    labels = scorer.label_names
    started = time.perf_counter()
    outcomes = outcomes_of(rows.texts, scorer, advance=advance)
    elapsed_s = time.perf_counter() - started
    predicted = [
        (number, list(outcome.scores.values()), labels.index(rows.labels[number]))
        for number, outcome in enumerate(outcomes)
        if isinstance(outcome, Prediction)
    ]
    if not predicted:
        raise TrainingDataError(f"no text of {rows.name} could be scored")
    numbers, probabilities, targets = map(list, zip(*predicted, strict=True))
    errors = len(outcomes) - len(predicted)
    return ScoredRows(labels, numbers, probabilities, targets, errors, len(outcomes) / elapsed_s)


def outcomes_of(
    texts: Sequence[str], scorer: TextScorer, *, advance: Callable[[int], None]
) -> list[Outcome]:
    """Score texts in chunks, and return one outcome per text, in order."""
    outcomes: list[Outcome] = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        chunk = texts[start : start + _CHUNK_TEXTS]
        outcomes += scorer.score([chunk])[0]
        advance(len(chunk))
    return outcomes
