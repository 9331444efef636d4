"""How well the labels of parts, and `mixed`, agree with those of the labelled reviews."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.parts.reviews import LabelledReview
from sentq.contract import MIXED_SENTIMENT, Prediction
from sentq_worker import Scorer

__all__ = ["measure_agreement"]


def measure_agreement(
    reviews: list[LabelledReview], model: str | None
) -> Iterator[tuple[str, float]]:
    """Yield figures for both halves of the reviews, with their names.

    `labels`: the share of the parts that have the label of the sentence of which they have most
    characters. `opposite`: the share whose label is the opposite one. `mixed_*`: precision, recall
    and F1 of `mixed`, by the rule, and for the half to choose on by other thresholds too.
    """
    scorer = Scorer.load(model=model, detail="sentences", threads=1)
    for use in ("choose", "measure"):
        some = [review for review in reviews if review.use == use]
        outcomes = scorer.score([review.text for review in some])
        found = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        yield f"{use}_reviews", len(some)
        yield f"{use}_mixed_reviews", sum(review.mixed for review in some)
        pairs = [
            (part.label, _label_of(review, part.start, part.end))
            for review, outcome in zip(some, found, strict=True)
            for part in outcome.parts or ()
        ]
        yield f"{use}_parts", len(pairs)
        yield f"{use}_labels", _share([one == other for one, other in pairs])
        yield f"{use}_opposite", _share([{*pair} == {"positive", "negative"} for pair in pairs])
        yield from _of_mixed(use, some, [outcome.mixed is True for outcome in found])
        if use == "choose":
            for tenth in range(1, 10):
                flags = [_is_mixed(outcome, tenth / 10) for outcome in found]
                _, _, (_, f1) = _of_mixed("", some, flags)
                yield f"choose_f1_at_0.{tenth}", f1
    yield "threshold", MIXED_SENTIMENT


def _is_mixed(outcome: Prediction, threshold: float) -> bool:
    sentiments = [part.sentiment or 0.0 for part in outcome.parts or ()]
    return max(sentiments) >= threshold and min(sentiments) <= -threshold


def _label_of(review: LabelledReview, start: int, end: int) -> str:
    """Return the label of the sentence that has most of the characters of a part."""
    return max(review.sentences, key=lambda each: min(end, each.end) - max(start, each.start)).label


def _of_mixed(
    use: str, reviews: Sequence[LabelledReview], flags: Sequence[bool]
) -> Iterator[tuple[str, float]]:
    both = sum(review.mixed and flag for review, flag in zip(reviews, flags, strict=True))
    mixed = sum(review.mixed for review in reviews)
    yield f"{use}_mixed_precision", round(both / max(1, sum(flags)), 3)
    yield f"{use}_mixed_recall", round(both / mixed, 3)
    yield f"{use}_mixed_f1", round(2 * both / max(1, sum(flags) + mixed), 3)


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 3)
