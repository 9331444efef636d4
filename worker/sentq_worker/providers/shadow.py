"""What a candidate says in the shadow of the model that answers: how often it agrees, and how far
its scores differ. Nothing of a text is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sentq.contract import Outcome, Prediction

__all__ = ["ShadowCounts"]


class ShadowCounts:
    """Counts texts that both models have scored. One thread at a time may use it."""

    def __init__(self) -> None:
        #: Texts by whether both have the same label; `failed` if the candidate has none.
        self.texts: Counter[str] = Counter(agreed=0, differed=0, failed=0)
        #: The sum of the differences between scores: 0 for a text with the same scores, 1 for one
        #: whose probability lies on other labels.
        self.difference = 0.0

    def compare(self, answers: Sequence[Outcome], shadows: Sequence[Outcome]) -> None:
        """Count the texts of a job.

        Args:
            answers: The outcomes of the model that answers. Errors, and texts that another model
                has scored because of their language, are left out.
            shadows: Those of the candidate, in the same order.
        """
        for answer, shadow in zip(answers, shadows, strict=True):
            if not isinstance(answer, Prediction) or answer.model is not None:
                continue
            if not isinstance(shadow, Prediction):
                self.texts["failed"] += 1
                continue
            self.texts["agreed" if answer.label == shadow.label else "differed"] += 1
            self.difference += _difference(answer, shadow)

    def fail(self, answers: Sequence[Outcome]) -> None:
        """Count the texts of a job that the candidate could not score."""
        self.texts["failed"] += len(answers)


def _difference(answer: Prediction, shadow: Prediction) -> float:
    """Return the total variation distance of the scores of a text."""
    labels = answer.scores.keys() | shadow.scores.keys()
    return sum(abs(answer.scores.get(n, 0.0) - shadow.scores.get(n, 0.0)) for n in labels) / 2
