"""How well a model does on validation rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sentq_worker.training.extra import training_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Figures", "figures_of", "selection_score"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares between 0 and 1 over `rows` rows.

    `macro_f1` and `macro_recall` are means over the labels that the rows have. `polar_accuracy`
    leaves neutral rows out and asks only which of positive and negative is likelier; None
    without such rows.
    """

    rows: int
    accuracy: float
    macro_f1: float
    macro_recall: float
    polar_accuracy: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def line(self) -> str:
        """Put the figures in words."""
        polar = "" if self.polar_accuracy is None else f", polar {self.polar_accuracy:.4f}"
        return f"accuracy {self.accuracy:.4f}, macro F1 {self.macro_f1:.4f}{polar}"


def figures_of(
    probabilities: Sequence[Sequence[float]], targets: Sequence[int], *, labels: Sequence[str]
) -> Figures:
    """Compare one row of probabilities per text with the number of its right label."""
    with training_extra():
        from sklearn import metrics
    guesses = [max(range(len(row)), key=row.__getitem__) for row in probabilities]
    present = sorted(set(targets))
    return Figures(
        rows=len(targets),
        accuracy=float(metrics.accuracy_score(targets, guesses)),
        macro_f1=float(metrics.f1_score(targets, guesses, labels=present, average="macro")),
        macro_recall=float(metrics.recall_score(targets, guesses, labels=present, average="macro")),
        polar_accuracy=_polar_accuracy(probabilities, targets, labels),
    )


def selection_score(
    files: Sequence[tuple[Figures, Sequence[int]]], *, labels: Sequence[str]
) -> float:
    """Return one number to choose an epoch by: the mean of the files' accuracies.

    Of a file without neutral rows its polar accuracy counts: whoever made it never asked whether
    a row is neutral. `files` are figures, and targets.
    """
    neutral = labels.index("neutral") if "neutral" in labels else None
    shares = [
        one.accuracy
        if one.polar_accuracy is None or neutral is None or neutral in targets
        else one.polar_accuracy
        for one, targets in files
    ]
    return sum(shares) / len(shares)


def _polar_accuracy(
    probabilities: Sequence[Sequence[float]], targets: Sequence[int], labels: Sequence[str]
) -> float | None:
    if not {"negative", "positive"} <= set(labels):
        return None
    negative, positive = labels.index("negative"), labels.index("positive")
    right = [
        (row[positive] > row[negative]) == (target == positive)
        for row, target in zip(probabilities, targets, strict=True)
        if target in (negative, positive)
    ]
    return sum(right) / len(right) if right else None
