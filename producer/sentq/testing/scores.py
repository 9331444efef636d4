"""The scores of the test kit: by a rule, or as a test says.

The rule counts words of two lists in a text, whole words in any case. With more good words than bad
ones the label is `positive`, with more bad ones `negative`, else `neutral`. The probability of the
label is 0.8 if the counts differ by one, or are equal, and 0.95 if they differ by more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from sentq.contract import ErrorCode, Outcome, Prediction, TextError

__all__ = [
    "LABELS",
    "NEGATIVE_WORDS",
    "POSITIVE_WORDS",
    "Score",
    "Scores",
    "outcome_by",
    "score_by_rule",
]

#: What a test may say of a text: a label of the rule; a sentiment from -1 to 1; the whole outcome;
#: or the code of an error.
Score: TypeAlias = str | float | Prediction | TextError

#: Scores by text, or a function of a text.
Scores: TypeAlias = Mapping[str, Score] | Callable[[str], Score]

POSITIVE_WORDS: Final = (
    *("excellent", "good", "great", "happy", "like", "love", "loved", "lovely", "perfect"),
    *("recommend", "thanks", "wonderful"),
)
NEGATIVE_WORDS: Final = (
    *("angry", "awful", "bad", "broke", "broken", "hate", "hated", "money back", "poor"),
    *("refund", "terrible", "useless", "worst"),
)

_WORD: Final = re.compile(r"\w+")

#: How many tokens the model reads at once.
_TOKENS_PER_WINDOW: Final = 510

_SURE: Final = 0.95
_LIKELY: Final = 0.8

#: The labels of the rule, the most negative first.
LABELS: Final = ("negative", "neutral", "positive")


def score_by_rule(text: str) -> Prediction:
    """Return the prediction of the rule for a text."""
    difference = _count(text, POSITIVE_WORDS) - _count(text, NEGATIVE_WORDS)
    label = LABELS[1 + (difference > 0) - (difference < 0)]
    return _prediction(text, label, _SURE if abs(difference) > 1 else _LIKELY)


def outcome_by(scores: Scores | None, text: str) -> Outcome:
    """Return the outcome of a text: as the test says, else by the rule.

    Raises:
        ValueError, TypeError: The test says what is no score.
    """
    if scores is None:
        return score_by_rule(text)
    if not isinstance(scores, Mapping):
        return _outcome(text, scores(text))
    return _outcome(text, scores[text]) if text in scores else score_by_rule(text)


def _outcome(text: str, score: object) -> Outcome:
    if isinstance(score, (Prediction, TextError)):
        return score
    if isinstance(score, ErrorCode):
        return TextError(code=score, message="the test wants this error")
    if isinstance(score, str):
        if score not in LABELS:
            raise ValueError(
                f"{score!r} is not a label of the test kit ({', '.join(LABELS)}): give a "
                "sentq.Prediction"
            )
        return _prediction(text, score, _LIKELY)
    if isinstance(score, (int, float)) and not isinstance(score, bool):
        return _of_sentiment(text, float(score))
    raise TypeError(
        "a score is a label, a number from -1 to 1, a Prediction, a TextError or an ErrorCode, "
        f"not {type(score).__name__}"
    )


def _of_sentiment(text: str, sentiment: float) -> Prediction:
    if not -1 <= sentiment <= 1:
        raise ValueError(f"a sentiment is a number from -1 to 1, not {sentiment}")
    parts = (max(0.0, -sentiment), 1 - abs(sentiment), max(0.0, sentiment))
    scores = dict(zip(LABELS, parts, strict=True))
    label = max(scores, key=lambda name: scores[name])
    return _of_scores(text, label, scores)


def _prediction(text: str, label: str, score: float) -> Prediction:
    rest = round((1 - score) / 2, 6)
    return _of_scores(text, label, {name: score if name == label else rest for name in LABELS})


def _of_scores(text: str, label: str, scores: dict[str, float]) -> Prediction:
    tokens = len(_WORD.findall(text)) or 1
    return Prediction(
        label=label,
        score=scores[label],
        scores=scores,
        sentiment=round(scores["positive"] - scores["negative"], 6),
        tokens=tokens,
        windows=-(-tokens // _TOKENS_PER_WINDOW),
    )


def _count(text: str, words: tuple[str, ...]) -> int:
    return sum(len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)) for word in words)
