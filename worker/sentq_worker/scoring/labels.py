"""The names of a model's labels in the contract's terms, and their polarity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sentq.contract import Prediction, TextPart, is_mixed
from sentq_worker.scoring.language_rule import TextLanguage

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

    `names` are negative, neutral and positive if each label of the model is one of these in
    another spelling, and the model's own otherwise. Stars, and "very negative" to "very positive",
    have a polarity too.

    Args:
        own: The labels of the model's `id2label`.
        renamed: Other names for some of them, such as `LABEL_0`, which has no meaning. They are
            applied first.

    Raises:
        ValueError: The model has no label of a name in `renamed`, or two labels would have the
            same name.
    """

    def __init__(self, own: Sequence[str], renamed: Mapping[str, str] | None = None) -> None:
        renamed = renamed or {}
        if unknown := sorted(set(renamed) - set(own)):
            raise ValueError(f"the model has no labels {unknown}: its own are {sorted(own)}")
        names = [renamed.get(label, label) for label in own]
        if len(set(names)) < len(names):
            raise ValueError(f"two labels would have the same name: {names}")
        self.names = _normalised(names)
        self._polarities = _polarities(self.names)

    def sentiment(self, probabilities: Sequence[float]) -> float | None:
        """Return the expected polarity, from -1 to 1; None if the labels have none."""
        if self._polarities is None:
            return None
        pairs = zip(self._polarities, probabilities, strict=True)
        return sum(polarity * probability for polarity, probability in pairs)

    def prediction(
        self,
        probabilities: Sequence[float],
        *,
        tokens: int,
        windows: int,
        language: TextLanguage | None = None,
        parts: Sequence[TextPart] | None = None,
    ) -> Prediction:
        """Return the prediction of a text with these probabilities, and with these parts."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        code, confidence, is_supported = language or (None, None, None)
        return Prediction(
            label=self.names[best],
            score=probabilities[best],
            scores=dict(zip(self.names, probabilities, strict=True)),
            sentiment=self.sentiment(probabilities),
            tokens=tokens,
            windows=windows,
            language=code,
            language_confidence=confidence,
            language_supported=is_supported,
            parts=None if parts is None else tuple(parts),
            mixed=None if parts is None else is_mixed([part.sentiment for part in parts]),
        )

    def part(self, probabilities: Sequence[float], *, start: int, end: int) -> TextPart:
        """Return a part of a text with these probabilities."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return TextPart(
            start=start,
            end=end,
            label=self.names[best],
            score=probabilities[best],
            scores=dict(zip(self.names, probabilities, strict=True)),
            sentiment=self.sentiment(probabilities),
        )


def _normalised(names: Sequence[str]) -> tuple[str, ...]:
    known = [_NAMES.get(name.strip().lower()) for name in names]
    normalised = [name for name in known if name is not None]
    is_normal = len(normalised) == len(names) == len(set(normalised))
    return tuple(normalised if is_normal else names)


def _polarities(names: Sequence[str]) -> tuple[float, ...] | None:
    if len(names) == 1:
        return None  # a single label has no opposite
    if (stars := _stars(names)) is not None:
        return stars
    plain = [name.strip().lower().replace("_", " ") for name in names]
    if not set(plain) <= set(_POLARITY):
        return None
    has_degrees = any(name.startswith("very ") for name in plain)
    # Plain "positive" is half way if there is a "very positive" too.
    return tuple(
        _POLARITY[name] / (2 if has_degrees and not name.startswith("very ") else 1)
        for name in plain
    )


def _stars(names: Sequence[str]) -> tuple[float, ...] | None:
    """Return -1 for one star to 1 for the most; None if the names are not stars from one on."""
    matches = [_STARS.fullmatch(name.strip()) for name in names]
    counts = [int(match[1]) for match in matches if match]
    most = len(names)
    if sorted(counts) != list(range(1, most + 1)):
        return None
    return tuple(2 * (count - 1) / (most - 1) - 1 for count in counts)
