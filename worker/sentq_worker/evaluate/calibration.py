"""Calibration: whether predictions with a score of 0.9 are correct in 9 of 10 cases.

The expected calibration error as Guo et al. define it (On Calibration of Modern Neural Networks,
ICML 2017, equation 3): texts are put into 15 bins of equal width by the score of their most likely
label. The error of a bin is the distance between its mean score and its accuracy. The figure is
the mean of these errors, weighted by the number of texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bin", "Calibration", "calibration_of"]

#: As in the paper.
BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The texts with a score of at least `low` and below `high` (1 is in the last bin)."""

    low: float
    high: float
    rows: int
    mean_score: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The expected calibration error, from 0 (calibrated) to 1, and the bins with texts."""

    ece: float
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, object]:
        """Return error and bins as JSON."""
        return {
            "ece": round(self.ece, 4),
            "bins": [
                {
                    "from": round(one.low, 4),
                    "to": round(one.high, 4),
                    "rows": one.rows,
                    "mean_score": round(one.mean_score, 4),
                    "accuracy": round(one.accuracy, 4),
                }
                for one in self.bins
            ],
        }


def calibration_of(scores: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Return the calibration of the scores of the most likely labels, `right` or not."""
    members: list[list[int]] = [[] for _ in range(BINS)]
    for number, score in enumerate(scores):
        members[_bin(score)].append(number)
    bins = tuple(
        Bin(
            low=at / BINS,
            high=(at + 1) / BINS,
            rows=len(inside),
            mean_score=sum(scores[number] for number in inside) / len(inside),
            accuracy=sum(right[number] for number in inside) / len(inside),
        )
        for at, inside in enumerate(members)
        if inside
    )
    errors = sum(one.rows * abs(one.mean_score - one.accuracy) for one in bins)
    return Calibration(errors / len(scores), bins)


def _bin(score: float) -> int:
    return min(int(score * BINS), BINS - 1)
