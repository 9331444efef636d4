"""A model's labels in the contract's words, and what they say of polarity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sentq.contract import Prediction

__all__ = ["Labels"]

_NAMES: Final = {
    "neg": "negative",
    "negative": "negative",
    "neu": "neutral",
    "neutral": "neutral",
    "pos": "positive",
    "positive": "positive",
}

_POLARITY: Final = {
    "very negative": -1.0,
    "negative": -1.0,
    "neutral": 0.0,
    "positive": 1.0,
    "very positive": 1.0,
}

_STARS: Final = re.compile(r"([1-9]) ?stars?", re.IGNORECASE)


class Labels:
    """The labels of one model, in the order of its outputs.

    `names` are negative, neutral and positive where every label of the model says one of these
    in its own spelling; the model's own otherwise. Polarity also comes from stars, and from
    "very negative" to "very positive".

    Args:
        own: As the model's `id2label` says.
        renamed: What to call some of them instead, before anything else looks at them: most of
            all `LABEL_0`, which says nothing.

    Raises:
        ValueError: A label to rename is none of the model's, or two would have the same name.
    """

    def __init__(self, own: Sequence[str], renamed: Mapping[str, str] | None = None) -> None:
        renamed = renamed or {}
        if unknown := sorted(set(renamed) - set(own)):
            raise ValueError(f"the model has no labels {unknown}: its own are {sorted(own)}")
        called = [renamed.get(label, label) for label in own]
        if len(set(called)) < len(called):
            raise ValueError(f"two labels would have the same name: {called}")
        self.names = _names(called)
        self._polarities = _polarities(self.names)

    def sentiment(self, probabilities: Sequence[float]) -> float | None:
        """Expected polarity from -1 to 1; None where the labels have none."""
        if self._polarities is None:
            return None
        pairs = zip(self._polarities, probabilities, strict=True)
        return sum(polarity * probability for polarity, probability in pairs)

    def prediction(
        self, probabilities: Sequence[float], *, tokens: int, windows: int
    ) -> Prediction:
        """What a text's probabilities say."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return Prediction(
            label=self.names[best],
            score=probabilities[best],
            scores=dict(zip(self.names, probabilities, strict=True)),
            sentiment=self.sentiment(probabilities),
            tokens=tokens,
            windows=windows,
        )


def _names(called: Sequence[str]) -> tuple[str, ...]:
    known = [_NAMES.get(label.strip().lower()) for label in called]
    normalised = [name for name in known if name is not None]
    is_ours = len(normalised) == len(called) == len(set(normalised))
    return tuple(normalised if is_ours else called)


def _polarities(names: Sequence[str]) -> tuple[float, ...] | None:
    if len(names) == 1:
        return None  # a single label has nothing to be the opposite of
    if (stars := _stars(names)) is not None:
        return stars
    plain = [name.strip().lower().replace("_", " ") for name in names]
    if not set(plain) <= set(_POLARITY):
        return None
    has_degrees = any(name.startswith("very ") for name in plain)
    # Plain "positive" is half way where there is a "very positive" too.
    return tuple(
        _POLARITY[name] / (2 if has_degrees and not name.startswith("very ") else 1)
        for name in plain
    )


def _stars(names: Sequence[str]) -> tuple[float, ...] | None:
    """From -1 for the first star to 1 for the last; None where these are not stars from one on."""
    matches = [_STARS.fullmatch(name.strip()) for name in names]
    counts = [int(match[1]) for match in matches if match]
    most = len(names)
    if sorted(counts) != list(range(1, most + 1)):
        return None
    return tuple(2 * (count - 1) / (most - 1) - 1 for count in counts)
