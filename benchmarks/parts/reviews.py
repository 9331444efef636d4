"""The labelled reviews: written for sentq, with the labels of their sentences, and whether they are
mixed.

Each line of `reviews.jsonl` has `text`, `parts` (`start`, `end` and `label` of each sentence),
`mixed`, and `use`: `choose` for what thresholds are chosen on, `measure` for what is held out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LabelledReview", "Sentence", "read_reviews"]


@dataclass(frozen=True)
class Sentence:
    """A sentence: where it stands, and its label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class LabelledReview:
    """A review, its sentences, whether it is mixed, and what it is used for."""

    text: str
    sentences: Sequence[Sentence]
    mixed: bool
    use: str


def read_reviews() -> list[LabelledReview]:
    """Return all reviews."""
    lines = Path(__file__).with_name("reviews.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return [
        LabelledReview(
            row["text"], [Sentence(**part) for part in row["parts"]], row["mixed"], row["use"]
        )
        for row in rows
    ]
