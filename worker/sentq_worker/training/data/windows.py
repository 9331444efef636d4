"""Windows of long texts: the part of a text that an epoch trains on.

A worker scores a text that is longer than the model's window in windows, so the model should also
see the middle and the end of texts. The end of a review often states its verdict.
"""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["epoch_window", "special_token_counts"]


def special_token_counts(bare: Sequence[int], full: Sequence[int]) -> tuple[int, int]:
    """Return the numbers of special tokens before and after the tokens of a text.

    Args:
        bare: The tokens of a text without special tokens.
        full: The tokens of the same text with special tokens.
    """
    extra = len(full) - len(bare)
    before = next(
        (at for at in range(extra + 1) if list(full[at : at + len(bare)]) == list(bare)), 0
    )
    return before, extra - before


def epoch_window(
    token_ids: array[int], *, max_tokens: int, special_tokens: tuple[int, int], seed: str
) -> array[int]:
    """Return a window of `max_tokens` tokens, special tokens included; a short text as it is.

    Half of the windows are at the start of the text, a quarter at the end, and the others at a
    uniformly drawn position. `seed` (made of seed, epoch and row) alone decides.
    """
    before, after = special_tokens
    if len(token_ids) <= max_tokens:
        return token_ids
    own_tokens = max_tokens - before - after
    last = len(token_ids) - after - own_tokens
    rng = random.Random(seed)  # noqa: S311 - a position in a text, not a secret
    start = rng.choice((before, before, last, rng.randint(before, last)))
    inner = token_ids[start : start + own_tokens]
    return token_ids[:before] + inner + token_ids[len(token_ids) - after :]
