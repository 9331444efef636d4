"""The figures of one model on one file, by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sentq_worker.evaluate.calibration import Calibration, calibration_of
from sentq_worker.training.extra import training_extra
from sentq_worker.training.metrics import Figures, figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentq_worker.evaluate.scored import ScoredRows
    from sentq_worker.training.data.rows import Rows

__all__ = ["LabelFigures", "Measures", "Mistake", "measure", "worst_mistakes"]

_POLES = ("negative", "positive")


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How well one label is found. `recall` is None without rows of it, `precision` without
    guesses of it."""

    label: str
    rows: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """All figures of one model on one file.

    `interval` is Wilson's 95% interval of the accuracy: what chance in the choice of the rows
    leaves open. `confusion[i][j]` counts rows of label i that were given label j. `right` and
    `polar_right` say it row by row, by row number; the latter has no neutral rows.
    """

    figures: Figures
    interval: tuple[float, float]
    labels: tuple[LabelFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration
    errors: int
    texts_per_s: float
    right: dict[int, bool]
    polar_right: dict[int, bool]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.figures.as_json(),
            "accuracy_interval": [round(end, 4) for end in self.interval],
            "ece": round(self.calibration.ece, 4),
            "errors": self.errors,
            "texts_per_s": round(self.texts_per_s, 1),
            "labels": {
                one.label: {
                    "rows": one.rows,
                    "recall": _rounded(one.recall),
                    "precision": _rounded(one.precision),
                }
                for one in self.labels
            },
            "confusion": {
                one.label: dict(zip((other.label for other in self.labels), row, strict=True))
                for one, row in zip(self.labels, self.confusion, strict=True)
            },
            "calibration": self.calibration.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that was given another label than its own. `place` is its line (or row) in the file,
    None where it is from one of several; `text` is None unless texts may be shown."""

    place: int | None
    label: str
    guess: str
    score: float
    text: str | None

    def as_json(self) -> dict[str, Any]:
        shown = {} if self.text is None else {"text": self.text}
        return {
            "line": self.place,
            "label": self.label,
            "guess": self.guess,
            "score": round(self.score, 4),
            **shown,
        }


def measure(scored: ScoredRows) -> Measures:
    """Take all figures."""
    with training_extra():
        from scipy.stats import binomtest
        from sklearn import metrics
    numbers = range(len(scored.labels))
    guesses = scored.guesses
    confusion = metrics.confusion_matrix(scored.targets, guesses, labels=list(numbers)).tolist()
    right = [guess == target for guess, target in zip(guesses, scored.targets, strict=True)]
    wilson = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return Measures(
        figures=figures_of(scored.probabilities, scored.targets, labels=scored.labels),
        interval=(float(wilson.low), float(wilson.high)),
        labels=tuple(
            _label_figures(scored.labels[number], number, confusion) for number in numbers
        ),
        confusion=tuple(map(tuple, confusion)),
        calibration=calibration_of([max(row) for row in scored.probabilities], right),
        errors=scored.errors,
        texts_per_s=scored.texts_per_s,
        right=dict(zip(scored.row_numbers, right, strict=True)),
        polar_right=_polar_right(scored),
    )


def worst_mistakes(scored: ScoredRows, rows: Rows, *, most: int, with_text: bool) -> list[Mistake]:
    """Return the mistakes that the model was surest of, the surest first."""
    wrong = [
        (probabilities[guess], number, guess)
        for number, probabilities, guess, target in zip(
            scored.row_numbers, scored.probabilities, scored.guesses, scored.targets, strict=True
        )
        if guess != target
    ]
    wrong.sort(key=lambda one: (-one[0], one[1]))
    return [
        Mistake(
            place=rows.places[number] if rows.places else None,
            label=rows.labels[number],
            guess=scored.labels[guess],
            score=score,
            text=rows.texts[number] if with_text else None,
        )
        for score, number, guess in wrong[:most]
    ]


def _label_figures(label: str, number: int, confusion: Sequence[Sequence[int]]) -> LabelFigures:
    hits, rows = confusion[number][number], sum(confusion[number])
    guessed = sum(row[number] for row in confusion)
    return LabelFigures(
        label, rows, hits / rows if rows else None, hits / guessed if guessed else None
    )


def _polar_right(scored: ScoredRows) -> dict[int, bool]:
    if not set(_POLES) <= set(scored.labels):
        return {}
    negative, positive = map(scored.labels.index, _POLES)
    return {
        number: (row[positive] > row[negative]) == (target == positive)
        for number, row, target in zip(
            scored.row_numbers, scored.probabilities, scored.targets, strict=True
        )
        if target in (negative, positive)
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
