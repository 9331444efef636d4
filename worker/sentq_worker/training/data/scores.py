"""The scores of a row: the probability of each label, to learn in place of one label.

They are what annotators' votes add up to, or what another model gives: learning its scores is
distillation (Hinton et al. 2015, arXiv:1503.02531).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["InvalidScores", "most_probable", "parse_scores", "renamed"]

#: Rounded scores of many labels do not add up to 1 exactly.
_TOLERANCE: Final = 0.01

_PAIR: Final = 2


class InvalidScores(ValueError):
    """Scores cannot be used; the message begins with a verb, and quotes nothing of them."""


def parse_scores(value: object) -> dict[str, float] | None:
    """Return the probability of each label that has one above 0.

    Args:
        value: An object of labels and probabilities, or one as JSON in a string (as in CSV), or a
            list of pairs (as a map in Parquet). None and an empty string are no scores. A label
            whose probability is None is left out.

    Returns:
        The probabilities, which add up to about 1, or None if the row has no scores.

    Raises:
        InvalidScores: The value is something else, or the probabilities do not add up to 1.
    """
    if value is None or value == "":
        return None
    scores: dict[str, float] = {}
    for label, probability in _pairs(value):
        if not isinstance(label, str) or not label.strip() or label in scores:
            raise InvalidScores("has a label that is empty, no string, or there twice")
        if probability is not None:
            scores[label] = _probability(probability)
    total = sum(scores.values())
    if abs(total - 1) > _TOLERANCE:
        raise InvalidScores(f"has probabilities that add up to {total:.3g}, not to 1")
    return {label: one for label, one in scores.items() if one}


def most_probable(scores: Mapping[str, float]) -> str:
    """Return the label with the highest probability; of equal ones, the first."""
    return max(scores, key=scores.__getitem__)


def renamed(scores: Mapping[str, float], names: Mapping[str, str | None]) -> dict[str, float]:
    """Rename labels, and scale the probabilities so that they add up to 1.

    Those of labels with one new name are added up, and those with the new name None are left out.

    Raises:
        InvalidScores: No label is left.
    """
    kept: dict[str, float] = {}
    for label, probability in scores.items():
        name = names.get(label, label)
        if name is not None:
            kept[name] = kept.get(name, 0.0) + probability
    total = sum(kept.values())
    if not total:
        raise InvalidScores("has no label that is kept")
    return {name: probability / total for name, probability in kept.items()}


def _pairs(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise InvalidScores("is no JSON") from None
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list) and all(
        isinstance(one, tuple) and len(one) == _PAIR for one in value
    ):
        return value
    raise InvalidScores(f"is a {type(value).__name__}, not an object of labels and probabilities")


def _probability(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidScores(f"has a {type(value).__name__} where a probability should be")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise InvalidScores("has a number that is no probability from 0 to 1")
    return float(value)
