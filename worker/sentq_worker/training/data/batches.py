"""Which rows make up the batches of an epoch, in which order.

Everything follows from the seed and the epoch's number, so a resumed epoch needs no record of
what it had drawn: it skips as many batches as were done.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["batches_per_epoch", "draw_rows", "epoch_batches", "rows_per_epoch"]

#: Batches whose rows are sorted by length together: more means less padding and less rng.
_BATCHES_PER_BUCKET = 64


def rows_per_epoch(size: int, weight: float) -> int:
    """Tell how many of a source's `size` rows one epoch draws; the same for every epoch."""
    return max(1, round(size * weight))


def batches_per_epoch(sizes: Sequence[int], weights: Sequence[float], batch_size: int) -> int:
    """Tell how many batches `epoch_batches` gives."""
    rows = sum(rows_per_epoch(size, weight) for size, weight in zip(sizes, weights, strict=True))
    return math.ceil(rows / batch_size)


def epoch_batches(
    lengths: Sequence[int],
    sizes: Sequence[int],
    weights: Sequence[float],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
) -> list[list[int]]:
    """Draw the rows of an epoch and cut them in batches of similar lengths.

    `lengths` are the token counts of all rows, source after source; `sizes` and `weights`
    describe the sources. Returns row numbers: every batch but one has `batch_size` of them.
    """
    rng = random.Random(f"{seed}:{epoch}")  # noqa: S311 - an order, not a secret
    order = draw_rows(sizes, weights, rng)
    rng.shuffle(order)
    bucket = batch_size * _BATCHES_PER_BUCKET
    by_length: list[int] = []
    for start in range(0, len(order), bucket):
        by_length += sorted(order[start : start + bucket], key=lengths.__getitem__)
    batches = [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
    rng.shuffle(batches)
    return batches


def draw_rows(sizes: Sequence[int], weights: Sequence[float], rng: random.Random) -> list[int]:
    """Draw the rows of an epoch, source after source; their order is not yet shuffled.

    `chance` comes fresh from the seed and the epoch's number, as in `epoch_batches`.
    """
    numbers: list[int] = []
    first = 0
    for size, weight in zip(sizes, weights, strict=True):
        rows = range(first, first + size)
        copies, rest = divmod(rows_per_epoch(size, weight), size)
        numbers += list(rows) * copies
        numbers += rng.sample(rows, rest)
        first += size
    return numbers
