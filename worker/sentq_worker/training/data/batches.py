"""The rows and the batches of an epoch, and their order.

All of it follows from the seed and the number of the epoch. A resumed epoch therefore needs no
record of what was drawn: it skips the batches that are done.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["batches_per_epoch", "draw_rows", "epoch_batches", "rows_per_epoch"]

#: Batches whose rows are sorted by length together: more means less padding, but less shuffling.
_BATCHES_PER_BUCKET = 64


def rows_per_epoch(size: int, weight: float) -> int:
    """Return how many of the `size` rows of a source an epoch draws; all epochs draw the same."""
    return max(1, round(size * weight))


def batches_per_epoch(sizes: Sequence[int], weights: Sequence[float], batch_size: int) -> int:
    """Return the number of batches that `epoch_batches` returns."""
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
    """Draw the rows of an epoch, and form batches of rows of similar length.

    Args:
        lengths: The token counts of all rows, source after source.
        sizes: The number of rows of each source.
        weights: The share of the rows of each source that an epoch draws.

    Returns:
        Row numbers; all batches but one have `batch_size` of them.
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
    """Draw the rows of an epoch, source after source, not yet shuffled.

    `rng` must be new, and seeded by seed and epoch as in `epoch_batches`.
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
