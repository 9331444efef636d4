"""What a run has counted: rows, labels, errors by code, lengths of texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sentq.contract import Outcome, TextError

__all__ = ["RunTally"]

#: Lengths are counted in classes, each 2% longer than the one before.
_GROWTH: Final = math.log(1.02)


@dataclass(slots=True)
class RunTally:
    """Counts of outcomes. Their size does not grow with the rows.

    Attributes:
        rows: How many rows have an outcome.
        labels: How many rows have each label.
        errors: How many rows have each code of an error.
        lengths: How many texts have a length in characters of each class.
    """

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes."""
        self.rows += len(outcomes)
        self.labels.update([each.label for each in outcomes if not isinstance(each, TextError)])
        self.errors.update([str(each.code) for each in outcomes if isinstance(each, TextError)])

    def add_lengths(self, texts: Iterable[object]) -> None:
        """Count the lengths of texts."""
        lengths = Counter([len(text) for text in texts if isinstance(text, str)])
        for length, count in lengths.items():
            self.lengths[round(math.log1p(length) / _GROWTH)] += count

    def length_at(self, share: float) -> int | None:
        """Return the length that this share of the texts does not exceed, within 1%; None if there
        are no texts."""
        wanted = share * self.lengths.total()
        for number in sorted(self.lengths):
            wanted -= self.lengths[number]
            if wanted <= 0:
                return round(math.expm1(number * _GROWTH))
        return None

    @property
    def failures(self) -> int:
        """How many rows have an error."""
        return self.errors.total()

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "rows": self.rows,
            "labels": dict(self.labels),
            "errors": dict(self.errors),
            "lengths": {str(number): count for number, count in self.lengths.items()},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RunTally:
        """Return the counts that `as_json` wrote."""
        return cls(
            fields["rows"],
            Counter(fields["labels"]),
            Counter(fields["errors"]),
            Counter({int(number): count for number, count in fields["lengths"].items()}),
        )
