"""Metrics of a classifier on labelled rows, and the score that selects the best epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from sentq_worker.training.extra import training_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Figures", "FiguresRecord", "figures_of", "polar_correct", "selection_score"]


class FiguresRecord(TypedDict):
    """`Figures` as JSON."""

    rows: int
    accuracy: float
    macro_f1: float
    macro_recall: float
    polar_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Metrics over `rows` rows, each between 0 and 1.

    `macro_f1` and `macro_recall` are means over the labels that occur in the rows.
    `polar_accuracy` excludes neutral rows, and compares only the probabilities of positive and
    negative. It is None without positive and negative rows.
    """

    rows: int
    accuracy: float
    macro_f1: float
    macro_recall: float
    polar_accuracy: float | None

    def as_json(self) -> FiguresRecord:
        """Return the metrics, rounded to four places."""
        polar = self.polar_accuracy
        return {
            "rows": self.rows,
            "accuracy": round(self.accuracy, 4),
            "macro_f1": round(self.macro_f1, 4),
            "macro_recall": round(self.macro_recall, 4),
            "polar_accuracy": None if polar is None else round(polar, 4),
        }

    def line(self) -> str:
        """Return the main metrics as text."""
        polar = "" if self.polar_accuracy is None else f", polar {self.polar_accuracy:.4f}"
        return f"accuracy {self.accuracy:.4f}, macro F1 {self.macro_f1:.4f}{polar}"


def figures_of(
    probabilities: Sequence[Sequence[float]], targets: Sequence[int], *, labels: Sequence[str]
) -> Figures:
    """Return the metrics of probabilities (rows, labels) against the correct label numbers.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    with training_extra():
        from sklearn import metrics
    predicted = [max(range(len(row)), key=row.__getitem__) for row in probabilities]
    present = sorted(set(targets))
    polar = polar_correct(probabilities, targets, labels=labels)
    return Figures(
        rows=len(targets),
        accuracy=float(metrics.accuracy_score(targets, predicted)),
        macro_f1=float(metrics.f1_score(targets, predicted, labels=present, average="macro")),
        macro_recall=float(
            metrics.recall_score(targets, predicted, labels=present, average="macro")
        ),
        polar_accuracy=sum(polar.values()) / len(polar) if polar else None,
    )


def selection_score(
    files: Sequence[tuple[Figures, Sequence[int]]], *, labels: Sequence[str]
) -> float:
    """Return the score that selects the best epoch: the mean accuracy of the files.

    For a file without neutral rows its polar accuracy counts, because its annotators had no
    neutral label to choose.

    Args:
        files: For each file, its metrics and the numbers of its correct labels.
    """
    neutral = labels.index("neutral") if "neutral" in labels else None
    shares = [
        one.accuracy
        if one.polar_accuracy is None or neutral is None or neutral in targets
        else one.polar_accuracy
        for one, targets in files
    ]
    return sum(shares) / len(shares)


def polar_correct(
    probabilities: Sequence[Sequence[float]], targets: Sequence[int], *, labels: Sequence[str]
) -> dict[int, bool]:
    """Tell for the positive and negative rows, by position, which are correct without neutral.

    Such a row is correct if the probability of its label is above that of the opposite label.
    Without the labels positive and negative, the result is empty.
    """
    if not {"negative", "positive"} <= set(labels):
        return {}
    negative, positive = labels.index("negative"), labels.index("positive")
    return {
        position: (row[positive] > row[negative]) == (target == positive)
        for position, (row, target) in enumerate(zip(probabilities, targets, strict=True))
        if target in (negative, positive)
    }
