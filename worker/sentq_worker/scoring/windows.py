"""A text's windows of tokens, and the text's probabilities from those of its windows.

A text that is longer than the model reads at once becomes several overlapping windows; nothing is
cut off. Their probabilities are joined by the mean, weighted by the windows' tokens, or by another
configured rule. The mean hides one strong page among many calm ones; `extremes` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tokenizers import Encoding, Tokenizer

from sentq_worker.engine.base import Window
from sentq_worker.scoring.language_rule import TextLanguage
from sentq_worker.settings import JoinRule

__all__ = ["PartTokens", "TextTokenizer", "TextTokens", "join", "token_spans"]


@dataclass(frozen=True, slots=True)
class PartTokens:
    """The windows of a part of a text, and where it stands in the text.

    Attributes:
        start, end: Where it stands, in characters.
        tokens: Its windows; None if they are windows of the text.
        windows: Which of the windows of the text are its own; None for all of them.
    """

    start: int
    end: int
    tokens: TextTokens | None
    windows: slice | None = None


#: The weight of a window without any sentiment, among windows without any: they are then the mean.
_CALM: Final = 1e-9


@dataclass(frozen=True, slots=True)
class TextTokens:
    """The windows of a text. `tokens` counts the text's own tokens, each once. `language` is None
    if it was not detected, or the text has no letters. `parts` is None if they are not scored."""

    windows: list[Window]
    tokens: int
    language: TextLanguage | None = None
    parts: Sequence[PartTokens] | None = None

    @property
    def all_windows(self) -> Sequence[Window]:
        """The windows of the text, then those of its parts."""
        if self.parts is None:
            return self.windows
        return [*self.windows, *self._windows_of_parts(self.parts)]

    def _windows_of_parts(self, parts: Sequence[PartTokens]) -> Iterator[Window]:
        for part in parts:
            if part.tokens is not None:
                yield from part.tokens.windows


class TextTokenizer:
    """Splits texts into windows of at most `window_tokens`, special tokens included.

    It uses a `tokenizers.Tokenizer` directly: the wrapper of Transformers takes five times as long
    for a text.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, window_tokens: int, overlap_tokens: int, special_tokens: int
    ) -> None:
        own_tokens = window_tokens - special_tokens
        self._overlap_tokens = min(overlap_tokens, own_tokens // 2)
        self._special_tokens = special_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window_tokens, stride=self._overlap_tokens)

    def tokenise(self, texts: Sequence[str]) -> list[TextTokens]:
        """Tokenise valid strings, in order. A lone surrogate fails the whole call."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [self._windows(encoding) for encoding in encodings]

    def window_spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each window of a text that was tokenised begins and ends, in characters."""
        # Only this kind of encoding knows the places of tokens.
        encoding = self._tokenizer.encode(text)
        return [_span(each) for each in (encoding, *encoding.overflowing)]

    def _windows(self, encoding: Encoding) -> TextTokens:
        windows = [
            Window(token_ids=each.ids, own_tokens=len(each.ids) - self._special_tokens)
            for each in (encoding, *encoding.overflowing)
        ]
        repeated = self._overlap_tokens * (len(windows) - 1)
        return TextTokens(windows, sum(window.own_tokens for window in windows) - repeated)


def token_spans(window: Encoding) -> list[tuple[int, int]]:
    """Return where each of a window's own tokens begins and ends in the text, in characters."""
    return [
        span
        for span, is_special in zip(window.offsets, window.special_tokens_mask, strict=True)
        if not is_special
    ]


def _span(window: Encoding) -> tuple[int, int]:
    spans = token_spans(window)
    return spans[0][0], spans[-1][1]


def join(
    text: TextTokens,
    rows: Sequence[Sequence[float]],
    *,
    rule: JoinRule = "mean",
    sentiment: Callable[[Sequence[float]], float | None] = lambda _: None,
) -> list[float]:
    """Return a text's probabilities from those of its windows.

    Args:
        text: The text's windows.
        rows: The probabilities of each window.
        rule: "mean" weights each window by its tokens, "first" takes the first window, and "max"
            takes the window with the highest probability. "extremes" weights each window by its
            tokens and the square of its sentiment.
        sentiment: Returns the sentiment of a window's probabilities; None if the labels have none.
            Then "extremes" is "mean".
    """
    if len(rows) == 1 or rule == "first":
        return list(rows[0])
    if rule == "max":
        return list(max(rows, key=max))
    shares: list[float] = [window.own_tokens for window in text.windows]
    if rule == "extremes":
        sentiments = [sentiment(row) for row in rows]
        squares = [1.0 if each is None else each * each + _CALM for each in sentiments]
        shares = [share * square for share, square in zip(shares, squares, strict=True)]
    total = sum(shares)
    weights = [share / total for share in shares]
    return [
        sum(weight * value for weight, value in zip(weights, column, strict=True))
        for column in zip(*rows, strict=True)
    ]
