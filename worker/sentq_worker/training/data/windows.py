"""Long texts as windows: which part of a text an epoch trains on.

A worker scores a text that is longer than the model's window in pieces, so a model should know
texts from the middle and the end too. And the end is where a review comes to the point.
"""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["epoch_window", "special_token_counts"]


def special_token_counts(bare: Sequence[int], framed: Sequence[int]) -> tuple[int, int]:
    """Tell how many special tokens stand before and behind a text's own tokens.

    `bare` are the tokens of a text without special tokens, `framed` those with them.
    """
    extra = len(framed) - len(bare)
    before = next(
        (at for at in range(extra + 1) if list(framed[at : at + len(bare)]) == list(bare)), 0
    )
    return before, extra - before


def epoch_window(
    token_ids: array[int], *, max_tokens: int, special_tokens: tuple[int, int], seed: str
) -> array[int]:
    """Return the tokens themselves, or a window of `max_tokens` with the special tokens around it.

    Half of the windows are the beginning, a quarter the end, the others lie anywhere between;
    `mark` (seed, epoch and row) decides, and nothing else.
    """
    before, behind = special_tokens
    if len(token_ids) <= max_tokens:
        return token_ids
    own_tokens = max_tokens - before - behind
    last = len(token_ids) - behind - own_tokens
    rng = random.Random(seed)  # noqa: S311 - a place in a text, not a secret
    start = rng.choice((before, before, last, rng.randint(before, last)))
    inner = token_ids[start : start + own_tokens]
    return token_ids[:before] + inner + token_ids[len(token_ids) - behind :]
