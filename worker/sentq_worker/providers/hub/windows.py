"""Windows as text, for an engine that takes texts: cut where the tokenizer would cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from sentq_worker.engine.base import Window
from sentq_worker.scoring.windows import TextTokens

__all__ = ["TextWindows", "Windower", "window_by_chars", "window_by_tokens"]


@dataclass(frozen=True, slots=True)
class TextWindows:
    """One text in parts that overlap. `tokens` weighs the parts as `text.join` needs it; its
    count is 0 where nobody knows the tokens."""

    parts: list[str]
    tokens: TextTokens


Windower = Callable[[str], TextWindows]


def window_by_tokens(
    tokenizer: Tokenizer, *, window_tokens: int, overlap_tokens: int, otherwise: Windower
) -> Windower:
    """Cut texts into the windows of `text.TextTokenizer`.

    Args:
        tokenizer: The model's; kept, and changed.
        window_tokens: Most tokens of a window, special ones included.
        overlap_tokens: How many tokens a window shares with the one before.
        otherwise: Cuts a text that the tokenizer cannot read.
    """
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_padding()
    whole.no_truncation()
    special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
    overlap_tokens = min(overlap_tokens, (window_tokens - special_tokens) // 2)
    tokenizer.no_padding()
    tokenizer.enable_truncation(window_tokens, stride=overlap_tokens)

    def excess(part: str) -> int:
        return len(whole.encode(part).ids) - window_tokens

    def cut(text: str) -> TextWindows:
        try:
            encoding = tokenizer.encode(text)
        except Exception:  # noqa: BLE001 - the library has no class of its own for it
            return otherwise(text)
        encodings = [encoding, *encoding.overflowing]
        windows = [Window([], len(part.ids) - special_tokens) for part in encodings]
        own_tokens = sum(window.own_tokens for window in windows)
        tokens = TextTokens(windows, own_tokens - overlap_tokens * (len(windows) - 1))
        if len(encodings) == 1:
            return TextWindows([text], tokens)
        parts = [_part(text, part, excess, is_last=part is encodings[-1]) for part in encodings]
        return TextWindows(parts, tokens)

    return cut


def _part(text: str, window: Encoding, excess: Callable[[str], int], *, is_last: bool) -> str:
    """The text of a window. A word that was cut may be more tokens when it is read again; what
    then is too much is left to the neighbour, with which the window overlaps."""
    own = [
        span
        for span, is_special in zip(window.offsets, window.special_tokens_mask, strict=True)
        if not is_special
    ]
    while len(own) > 1:
        part = text[own[0][0] : own[-1][1]]
        too_many = excess(part)
        if too_many <= 0:
            break
        own = own[too_many:] if is_last else own[:-too_many]
    return text[own[0][0] : own[-1][1]]


def window_by_chars(text: str, *, window_chars: int) -> TextWindows:
    """Cut a text into windows of so many characters; an eighth of each is the one before's."""
    overlap = window_chars // 8
    starts = range(0, max(1, len(text) - overlap), window_chars - overlap)
    parts = [text[start : start + window_chars] for start in starts]
    return TextWindows(parts, TextTokens([Window([], len(part)) for part in parts], 0))
