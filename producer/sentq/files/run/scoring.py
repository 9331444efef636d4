"""What scores the texts of a run: a client and its workers, or the engine of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from sentq.contract import Outcome

__all__ = ["ModelName", "ScoredTexts", "TextScoring"]


class ModelName(NamedTuple):
    """A model and its revision, as outcomes name it."""

    model: str
    revision: str | None

    def __str__(self) -> str:
        return self.model if self.revision is None else f"{self.model} ({self.revision})"


class ScoredTexts(NamedTuple):
    """Outcomes of texts that follow each other.

    Attributes:
        outcomes: One for each text, in order.
        model: What scored them; None if none of them was scored.
    """

    outcomes: Sequence[Outcome]
    model: ModelName | None


class TextScoring(Protocol):
    """Scores texts."""

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        """Yield the outcomes of all texts, in order.

        Args:
            texts: Of any type; a `TextError` is its own outcome. A bounded number is read ahead.
        """
