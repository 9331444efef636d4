"""Score the validation rows with the model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentq_worker.training.data.corpus import EncodedRows

__all__ = ["predict_rows"]

_ROWS_PER_BATCH = 64


def predict_rows(
    predict: Callable[[Sequence[Sequence[int]]], list[list[float]]], rows: EncodedRows
) -> list[list[float]]:
    """Return the probabilities of all rows, in the order of the rows.

    Rows are scored in batches of similar lengths, which need little padding.

    Args:
        predict: Takes a batch of token ids, and returns one row of probabilities for each.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows.token_ids[row]))
    probabilities: list[list[float]] = [[]] * len(rows)
    for start in range(0, len(order), _ROWS_PER_BATCH):
        batch = order[start : start + _ROWS_PER_BATCH]
        predicted = predict([rows.token_ids[row] for row in batch])
        for row, row_probabilities in zip(batch, predicted, strict=True):
            probabilities[row] = row_probabilities
    return probabilities
