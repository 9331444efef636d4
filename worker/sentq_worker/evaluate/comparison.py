"""Whether one model is better than another on the same rows, or was only luckier.

Both models answer the same rows, so only the rows on which exactly one is right tell them apart.
Were the models equally good, each such row would be a toss of a coin: McNemar's test (1947), here
with the exact binomial distribution, because its chi-squared form is wrong where few rows differ.
Dietterich (Approximate Statistical Tests for Comparing Supervised Classification Learning
Algorithms, Neural Computation 10, 1998) recommends it for models that were trained once. A
bootstrap would serve macro F1 too, but has a seed, takes seconds a file, and says the same of
accuracy.

It tells about these two models and rows like these; how much luck was in their training, only
further seeds can tell. Of twenty comparisons of equals, one has p below 0.05.

The interval of the difference is Agresti and Min's (Simple improved confidence intervals for
comparing matched proportions, Statistics in Medicine 24, 2005): Wald's, after half a row is added
to each of the four cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sentq_worker.training.extra import training_extra

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Comparison", "compare"]

#: Two-sided 95% of the normal distribution.
_Z = 1.959963984540054

_PROBABLE = 0.05

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model beside another on the `rows` that both answered.

    `only_first` and `only_second` count the rows that just one of them got right. `difference`
    is the first's accuracy less the second's, between `low` and `high` with 95% confidence.
    """

    rows: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely explanation: p below 0.05."""
        return self.p_value < _PROBABLE

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "only_first_right": self.only_first,
            "only_second_right": self.only_second,
            "difference": round(self.difference, 4),
            "interval": [round(self.low, 4), round(self.high, 4)],
            "p_value": float(f"{self.p_value:.3g}"),
            "test": "McNemar, exact",
        }


def compare(first: Mapping[_Key, bool], second: Mapping[_Key, bool]) -> Comparison | None:
    """Compare what each model got right; None where they have no row in common."""
    with training_extra():
        from scipy.stats import binomtest
    shared = first.keys() & second.keys()
    if not shared:
        return None
    only_first = sum(first[key] and not second[key] for key in shared)
    only_second = sum(second[key] and not first[key] for key in shared)
    differing = only_first + only_second
    low, high = _interval(only_first, only_second, len(shared))
    return Comparison(
        rows=len(shared),
        only_first=only_first,
        only_second=only_second,
        difference=(only_first - only_second) / len(shared),
        low=low,
        high=high,
        p_value=float(binomtest(only_first, differing).pvalue) if differing else 1.0,
    )


def _interval(only_first: int, only_second: int, rows: int) -> tuple[float, float]:
    more, less, total = only_first + 0.5, only_second + 0.5, rows + 2
    difference = (more - less) / total
    spread = _Z * math.sqrt(more + less - (more - less) ** 2 / total) / total
    return max(difference - spread, -1.0), min(difference + spread, 1.0)
