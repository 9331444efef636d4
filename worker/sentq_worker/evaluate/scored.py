"""Rows through the worker's own scoring: what a job of these texts would be answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sentq.contract import Prediction
from sentq_worker.training.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentq.contract import Outcome
    from sentq_worker.training.data.rows import Rows

__all__ = ["ScoredRows", "TextScorer", "check_labels", "outcomes_of", "score_rows"]

#: Texts scored at once: enough to sort by length, few enough for a bar that moves.
_CHUNK_TEXTS = 512


class TextScorer(Protocol):
    """As much of the worker's `Scorer` as measuring needs."""

    @property
    def label_names(self) -> tuple[str, ...]: ...

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]: ...


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The answers to the rows that got one.

    `row_numbers` count from 0 and ascend; `probabilities` and `targets` stand beside them, in
    the order of `labels`. `errors` rows had no answer and are in no figure.
    """

    labels: tuple[str, ...]
    row_numbers: list[int]
    probabilities: list[list[float]]
    targets: list[int]
    errors: int
    texts_per_s: float

    @property
    def guesses(self) -> list[int]:
        """The number of the likeliest label, row by row."""
        return [max(range(len(row)), key=row.__getitem__) for row in self.probabilities]


def check_labels(rows: Rows, labels: Sequence[str]) -> None:
    """Make sure that the model can be right about each row.

    Raises:
        TrainingDataError: The rows have a label that the model has not.
    """
    if unknown := set(rows.labels) - set(labels):
        raise TrainingDataError(
            f"{rows.name} has labels that the model has not: {', '.join(sorted(unknown))}; "
            f"the model's are {', '.join(labels)}. --label-map OLD=NEW renames them, "
            "--label-map OLD= leaves their rows out"
        )


def score_rows(rows: Rows, scorer: TextScorer, *, advance: Callable[[int], None]) -> ScoredRows:
    """Score all rows, whose labels the model has; `advance` is told how many more are done.

    Raises:
        TrainingDataError: No row has an answer.
    """
    labels = scorer.label_names
    started = time.perf_counter()
    outcomes = outcomes_of(rows.texts, scorer, advance=advance)
    elapsed_s = time.perf_counter() - started
    answered = [
        (number, list(outcome.scores.values()), labels.index(rows.labels[number]))
        for number, outcome in enumerate(outcomes)
        if isinstance(outcome, Prediction)
    ]
    if not answered:
        raise TrainingDataError(f"no text of {rows.name} could be scored")
    numbers, probabilities, targets = map(list, zip(*answered, strict=True))
    errors = len(outcomes) - len(answered)
    return ScoredRows(labels, numbers, probabilities, targets, errors, len(outcomes) / elapsed_s)


def outcomes_of(
    texts: Sequence[str], scorer: TextScorer, *, advance: Callable[[int], None]
) -> list[Outcome]:
    """Score texts in chunks; one outcome a text, in order."""
    outcomes: list[Outcome] = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        chunk = texts[start : start + _CHUNK_TEXTS]
        outcomes += scorer.score([chunk])[0]
        advance(len(chunk))
    return outcomes
