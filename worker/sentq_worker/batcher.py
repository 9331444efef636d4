"""Windows of many texts to batches of similar length within a budget, and through the engine.

A padded batch costs what its longest window costs, so windows are sorted by length first. When
a batch fails it is halved until the window that fails stands alone: the others are scored.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

from sentq.contract import ErrorCode, TextError
from sentq_worker.engine.base import Engine, Window

__all__ = ["predict_all"]

logger = logging.getLogger(__name__)

#: One window's probabilities, or why there are none.
Row = list[float] | TextError


def predict_all(engine: Engine, windows: Sequence[Window], *, batch_tokens: int) -> list[Row]:
    """Score any number of windows.

    Args:
        windows: In any order; the rows come back in the same one.
        batch_tokens: Most tokens of a forward pass, padding included; a single longer window
            is a batch of its own.
    """
    rows: list[Row] = [_FAILED] * len(windows)
    for indices in _batches(windows, batch_tokens):
        batch_rows = _predict(engine, [windows[index] for index in indices])
        for index, row in zip(indices, batch_rows, strict=True):
            rows[index] = row
    return rows


def _batches(windows: Sequence[Window], batch_tokens: int) -> Iterator[list[int]]:
    by_length = sorted(range(len(windows)), key=lambda index: len(windows[index].token_ids))
    batch: list[int] = []
    for index in by_length:
        # Ascending, so this window is the longest of its batch.
        if batch and (len(batch) + 1) * len(windows[index].token_ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _predict(engine: Engine, batch: list[Window]) -> list[Row]:
    try:
        rows = _rows(engine, batch)
    except Exception as error:  # noqa: BLE001 - whatever a model raises, its neighbours are scored
        # The class alone: a message might quote its input.
        logger.warning("batch of %d failed: %s", len(batch), type(error).__name__)
        if len(batch) == 1:
            return [_FAILED]
        half = len(batch) // 2
        return _predict(engine, batch[:half]) + _predict(engine, batch[half:])
    return [row if all(map(math.isfinite, row)) else _NONFINITE for row in rows]


def _rows(engine: Engine, batch: list[Window]) -> list[list[float]]:
    rows = engine.predict(batch)
    if len(rows) != len(batch):
        raise RuntimeError(f"the engine returned {len(rows)} rows for {len(batch)} windows")
    return rows


_FAILED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the model failed on this text, also alone"
)
_NONFINITE = TextError(
    code=ErrorCode.NONFINITE, message="the model's scores for this text are not numbers"
)
