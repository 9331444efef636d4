"""Texts a second with and without their parts, by turns in one process."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from benchmarks.parts.reviews import LabelledReview
from benchmarks.turns import take_turns
from sentq.contract import Detail, Prediction
from sentq_worker import Scorer

__all__ = ["measure_speed"]

#: Long texts are so many reviews each.
_REVIEWS_PER_TEXT: Final = 5
_TEXTS: Final = 256

_DETAILS: Final[dict[str, Detail | None]] = {
    "plain": None,
    "sentences": "sentences",
    "paragraphs": "paragraphs",
}


def measure_speed(
    reviews: list[LabelledReview], model: str | None, *, repeats: int
) -> Iterator[tuple[str, float]]:
    """Yield figures with their names, for short texts and long ones: their mean length in
    characters and sentences, texts a second in one thread, and the ratio to those without parts."""
    scorers = {
        name: Scorer.load(model=model, threads=1, detail=detail)
        for name, detail in _DETAILS.items()
    }
    # Each text differs: a text that comes twice is scored once.
    short = [f"{review.text} ({n})" for n in range(4) for review in reviews][:_TEXTS]
    starts = range(_TEXTS)
    long = ["\n\n".join((short + short)[start : start + _REVIEWS_PER_TEXT]) for start in starts]
    for kind, texts in (("short", short), ("long", long)):
        rates, outcomes = take_turns(
            {name: scorer.score for name, scorer in scorers.items()},
            texts,
            repeats=repeats,
            warm_up_texts=32,
        )
        yield f"{kind}_chars", round(statistics.mean(map(len, texts)))
        for name, found in outcomes.items():
            if name != "plain":
                parts = [len(one.parts or ()) for one in found if isinstance(one, Prediction)]
                yield f"{kind}_{name}", round(statistics.mean(parts), 1)
            yield f"{kind}_{name}_tps", round(rates[name], 1)
            if name != "plain":
                yield f"{kind}_{name}_over_plain", round(rates[name] / rates["plain"], 3)
