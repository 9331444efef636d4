"""A model's labels in the contract's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["Labels"]

_POLARITY: Final = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}

_NAMES: Final = {
    "neg": "negative",
    "negative": "negative",
    "neu": "neutral",
    "neutral": "neutral",
    "pos": "positive",
    "positive": "positive",
}


class Labels:
    """The labels of one model, in the order of its outputs.

    `names` are negative, neutral and positive where every label of the model says one of these
    in its own spelling; the model's own otherwise.
    """

    def __init__(self, own: Sequence[str]) -> None:
        known = [_NAMES.get(label.strip().lower()) for label in own]
        normalised = [name for name in known if name is not None]
        self._is_polar = len(normalised) == len(own) == len(set(normalised))
        self.names = tuple(normalised if self._is_polar else own)

    def sentiment(self, probabilities: Sequence[float]) -> float | None:
        """Expected polarity from -1 to 1; None where the labels have none."""
        if not self._is_polar:
            return None
        return sum(
            _POLARITY[name] * probability
            for name, probability in zip(self.names, probabilities, strict=True)
        )
