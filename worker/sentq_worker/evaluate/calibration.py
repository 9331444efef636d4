"""Whether a score of 0.9 is right nine times in ten.

The expected calibration error as Guo et al. define it (On Calibration of Modern Neural Networks,
ICML 2017, equation 3): texts are put into 15 bins of equal width by the score of their likeliest
label; a bin's error is the distance between its mean score and the share of its texts that are
right; the figure is the mean of the bins' errors, weighted with their texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bin", "Calibration", "calibration_of"]

#: As in the paper.
BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The texts whose score is at least `low` and below `high` (1 itself is in the last bin)."""

    low: float
    high: float
    rows: int
    mean_score: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The expected calibration error, from 0 (calibrated) to 1, and the bins that have texts."""

    ece: float
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, Any]:
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
    """Compare the scores of the likeliest labels with whether these were right."""
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
