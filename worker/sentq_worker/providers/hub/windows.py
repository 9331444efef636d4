"""Windows as texts, for an engine that takes texts: split where the tokenizer splits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from sentq_worker.engine.base import Window
from sentq_worker.scoring.windows import TextTokens, token_spans

__all__ = ["PartWindows", "TextWindows", "Windower", "window_by_chars", "window_by_tokens"]


@dataclass(frozen=True, slots=True)
class TextWindows:
    """One text in windows that overlap.

    `tokens` weights the windows for `scoring.windows.join`. Its count is 0 if the tokens are not
    known. `spans` says where the windows begin and end in the text, in characters. `parts` is None
    if they are not scored.
    """

    windows: list[str]
    tokens: TextTokens
    spans: Sequence[tuple[int, int]]
    parts: Sequence[PartWindows] | None = None

    @property
    def all_windows(self) -> Iterator[str]:
        """The windows of the text, and those of its parts."""
        yield from self.windows
        for part in self.parts or ():
            yield from part.text.windows


@dataclass(frozen=True, slots=True)
class PartWindows:
    """The windows of a part of a text, and where it stands in the text."""

    start: int
    end: int
    text: TextWindows


#: Splits a text into windows.
Windower = Callable[[str], TextWindows]


def window_by_tokens(
    tokenizer: Tokenizer, *, window_tokens: int, overlap_tokens: int, otherwise: Windower
) -> Windower:
    """Make a function that splits texts into the windows of `scoring.windows.TextTokenizer`.

    Args:
        tokenizer: The model's tokenizer. It is kept, and changed.
        window_tokens: Most tokens of a window, special tokens included.
        overlap_tokens: Tokens that a window shares with the window before it.
        otherwise: Splits a text that the tokenizer cannot read.
    """
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_padding()
    whole.no_truncation()
    special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
    overlap_tokens = min(overlap_tokens, (window_tokens - special_tokens) // 2)
    tokenizer.no_padding()
    tokenizer.enable_truncation(window_tokens, stride=overlap_tokens)

    def excess_tokens(window: str) -> int:
        return len(whole.encode(window).ids) - window_tokens

    def split(text: str) -> TextWindows:
        try:
            first = tokenizer.encode(text)
        except Exception:  # noqa: BLE001 - the library has no error class for it
            return otherwise(text)
        encodings = [first, *first.overflowing]
        token_windows = [Window([], len(each.ids) - special_tokens) for each in encodings]
        own_tokens = sum(window.own_tokens for window in token_windows)
        tokens = TextTokens(token_windows, own_tokens - overlap_tokens * (len(encodings) - 1))
        if len(encodings) == 1:
            return TextWindows([text], tokens, [(0, len(text))])
        spans = [
            _window_span(text, each, excess_tokens, is_last=each is encodings[-1])
            for each in encodings
        ]
        return TextWindows([text[start:end] for start, end in spans], tokens, spans)

    return split


def _window_span(
    text: str, window: Encoding, excess_tokens: Callable[[str], int], *, is_last: bool
) -> tuple[int, int]:
    """Return where the text of a window begins and ends.

    A word that was split may have more tokens when it is tokenised again. The tokens that are then
    too many are left to the neighbour, which overlaps with this window.
    """
    spans = token_spans(window)
    while len(spans) > 1:
        excess = excess_tokens(text[spans[0][0] : spans[-1][1]])
        if excess <= 0:
            break
        spans = spans[excess:] if is_last else spans[:-excess]
    return spans[0][0], spans[-1][1]


def window_by_chars(text: str, *, window_chars: int) -> TextWindows:
    """Split a text into windows of a number of characters, an eighth of which overlaps."""
    overlap = window_chars // 8
    starts = range(0, max(1, len(text) - overlap), window_chars - overlap)
    spans = [(start, min(start + window_chars, len(text))) for start in starts]
    windows = [text[start:end] for start, end in spans]
    tokens = TextTokens([Window([], len(window)) for window in windows], 0)
    return TextWindows(windows, tokens, spans)
