"""The parts of texts in the test kit: by a simple rule, scored as texts are.

A sentence ends after `.`, `!` or `?` and whitespace, or at a line break; a paragraph ends at a
blank line; a window has 510 words. A worker knows more, such as abbreviations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from sentq.contract import (
    MAX_PARTS_PER_TEXT,
    Detail,
    Outcome,
    Prediction,
    TextPart,
    is_mixed,
)
from sentq.testing.scores import Scores, outcome_by

__all__ = ["with_parts"]

#: What lies between two parts.
_ENDS: Final = {
    "sentences": re.compile(r"(?<=[.!?])\s+|\s*\n\s*"),
    "paragraphs": re.compile(r"\n[^\S\n]*\n\s*"),
    "windows": re.compile(r"(?<=\S)\s+(?=\S)"),
}

#: How many words the kit's model reads at once.
_WORDS_PER_WINDOW: Final = 510


def with_parts(outcome: Outcome, text: str, detail: Detail, scores: Scores | None) -> Outcome:
    """Return the outcome of a text with its parts, or the error of one of them.

    Args:
        outcome: The outcome of the text.
        text: The text.
        detail: Which parts.
        scores: What a test says of texts, and so of parts.
    """
    if not isinstance(outcome, Prediction) or outcome.parts is not None:
        return outcome
    parts: list[TextPart] = []
    for start, end in _spans(text, detail):
        scored = outcome_by(scores, text[start:end])
        if not isinstance(scored, Prediction):
            return scored
        parts.append(
            TextPart(
                start=start,
                end=end,
                label=scored.label,
                score=scored.score,
                scores=scored.scores,
                sentiment=scored.sentiment,
            )
        )
    mixed = is_mixed([part.sentiment for part in parts])
    return outcome.model_copy(update={"parts": tuple(parts), "mixed": mixed})


def _spans(text: str, detail: Detail) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends. The last one is the rest, if there are too many."""
    start, last = len(text) - len(text.lstrip()), len(text.rstrip())
    ends = _ENDS[detail].finditer(text, start, last)
    if detail == "windows":
        ends = islice(ends, _WORDS_PER_WINDOW - 1, None, _WORDS_PER_WINDOW)
    for count, found in enumerate(ends, start=1):
        if count == MAX_PARTS_PER_TEXT:
            break
        yield start, found.start()
        start = found.end()
    yield start, last
