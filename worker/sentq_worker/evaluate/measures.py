"""The figures of one model on one file, computed by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentq_worker.evaluate.calibration import Calibration, calibration_of
from sentq_worker.training.extra import training_extra
from sentq_worker.training.metrics import Figures, figures_of, polar_correct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentq_worker.evaluate.scored import ScoredRows
    from sentq_worker.training.data.rows import Rows

__all__ = ["LabelFigures", "Measures", "Mistake", "measure", "worst_mistakes"]


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Recall and precision of one label.

    `recall` is None without rows of the label, `precision` without predictions of it.
    """

    label: str
    rows: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """All figures of one model on one file.

    `interval` is the 95% Wilson interval of the accuracy, for the sampling of the rows.
    `confusion[i][j]` counts rows of label i with predicted label j. `right` and `polar_right` tell
    by row number which rows are correct; the latter has no neutral rows.
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

    def as_json(self) -> dict[str, object]:
        """Return all figures as JSON."""
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

    def averaged(self) -> dict[str, float | None]:
        """Return the figures that are averaged over files, by their keys in the JSON."""
        figures = self.figures.as_json()
        return {
            "accuracy": figures["accuracy"],
            "macro_f1": figures["macro_f1"],
            "macro_recall": figures["macro_recall"],
            "polar_accuracy": figures["polar_accuracy"],
            "ece": round(self.calibration.ece, 4),
        }


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row with a wrong prediction.

    `place` is its line (or row) in the file, or None if the rows are from several files. `text` is
    None unless texts may be shown.
    """

    place: int | None
    label: str
    guess: str
    score: float
    text: str | None

    def as_json(self) -> dict[str, object]:
        """Return the mistake as JSON, without the text unless it may be shown."""
        shown = {} if self.text is None else {"text": self.text}
        return {
            "line": self.place,
            "label": self.label,
            "guess": self.guess,
            "score": round(self.score, 4),
            **shown,
        }


def measure(scored: ScoredRows) -> Measures:
    """Return all figures of scored rows.

    Raises:
        MissingExtra: scikit-learn or SciPy is not installed.
    """
    with training_extra():
        from scipy.stats import binomtest
        from sklearn import metrics
    numbers = range(len(scored.labels))
    predicted = scored.predicted
    confusion = metrics.confusion_matrix(scored.targets, predicted, labels=list(numbers)).tolist()
    right = [guess == target for guess, target in zip(predicted, scored.targets, strict=True)]
    wilson = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    polar = polar_correct(scored.probabilities, scored.targets, labels=scored.labels)
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
        polar_right={scored.row_numbers[position]: correct for position, correct in polar.items()},
    )


def worst_mistakes(scored: ScoredRows, rows: Rows, *, most: int, with_text: bool) -> list[Mistake]:
    """Return the `most` mistakes with the highest scores, the highest first."""
    wrong = [
        (probabilities[guess], number, guess)
        for number, probabilities, guess, target in zip(
            scored.row_numbers, scored.probabilities, scored.predicted, scored.targets, strict=True
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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
