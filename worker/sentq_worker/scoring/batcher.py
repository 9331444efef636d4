"""Windows of many texts to batches of similar length within a budget, and through the engine.

A padded batch costs what its longest window costs, so windows are sorted by length first. When
a batch fails it is halved until the window that fails stands alone: the others are scored. When
memory does not suffice, batches become smaller for good.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

from sentq.contract import ErrorCode, TextError
from sentq_worker.engine.base import DeviceLost, Engine, EngineUnavailable, OutOfMemory, Window

__all__ = ["Batcher", "Row"]

logger = logging.getLogger(__name__)

#: One window's probabilities, or why there are none.
Row = list[float] | TextError


class Batcher:
    """Scores any number of windows. Used by one thread at a time.

    Args:
        batch_tokens: Most tokens of a forward pass, padding included; a single longer window
            is a batch of its own. Where memory does not suffice for it, the batcher learns to
            keep to less.
    """

    def __init__(self, engine: Engine, *, batch_tokens: int) -> None:
        self._engine = engine
        self._batch_tokens = batch_tokens

    @property
    def batch_tokens(self) -> int:
        """The budget as it is now."""
        return self._batch_tokens

    def predict(self, windows: Sequence[Window]) -> list[Row]:
        """Score windows, in any order; the rows come back in the same one.

        Raises:
            DeviceLost: Nothing can be computed any more, not by halves either.
            EngineUnavailable: Nothing can be computed for the moment, not by halves either.
        """
        rows: list[Row] = [_FAILED] * len(windows)
        for indices in self._batches(windows):
            batch_rows = self._predict([windows[index] for index in indices])
            for index, row in zip(indices, batch_rows, strict=True):
                rows[index] = row
        return rows

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        by_length = sorted(range(len(windows)), key=lambda index: len(windows[index].token_ids))
        batch: list[int] = []
        tokens = 0
        for index in by_length:
            length = len(windows[index].token_ids)
            # Ascending, so this window would be the longest of its batch.
            larger = (len(batch) + 1) * length if self._engine.pads else tokens + length
            if batch and larger > self._batch_tokens:
                yield batch
                batch, larger = [], length
            batch.append(index)
            tokens = larger
        if batch:
            yield batch

    def _predict(self, batch: list[Window]) -> list[Row]:
        rows = self._attempt(batch)
        # Not inside an `except`: an error keeps the frames that it came through, and with them
        # the tensors that the next attempt needs room for.
        if not isinstance(rows, TextError):
            return [
                row if _is_finite(row) else self._precisely(window)
                for row, window in zip(rows, batch, strict=True)
            ]
        if len(batch) == 1:
            return [rows]
        if rows is _TOO_LARGE:
            self._learn(batch)
            return self.predict(batch)
        half = len(batch) // 2
        return self._predict(batch[:half]) + self._predict(batch[half:])

    def _attempt(self, batch: list[Window]) -> list[list[float]] | TextError:
        """The rows, or what to say of a window that fails like this alone."""
        try:
            return self._rows(batch)
        except OutOfMemory:
            return _TOO_LARGE
        except (DeviceLost, EngineUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model raises, its neighbours are scored
            # The class alone: a message might quote its input.
            logger.warning("batch of %d failed: %s", len(batch), type(error).__name__)
            return _FAILED

    def _learn(self, batch: list[Window]) -> None:
        """A batch of this size does not fit: from now on, half of it at most."""
        longest = max(len(window.token_ids) for window in batch)
        size = len(batch) * longest if self._engine.pads else _tokens(batch)
        # One window of this length is the least that a batch can be cut to.
        self._batch_tokens = min(self._batch_tokens, max(size // 2, longest))
        logger.warning(
            "out of memory with %d tokens: batches hold %d from now on", size, self._batch_tokens
        )

    def _rows(self, batch: list[Window]) -> list[list[float]]:
        rows = self._engine.predict(batch)
        if len(rows) != len(batch):
            raise RuntimeError(f"the engine returned {len(rows)} rows for {len(batch)} windows")
        return rows

    def _precisely(self, window: Window) -> Row:
        """Once more for a window whose scores were no numbers: bf16 or its mates may be why."""
        try:
            row = self._engine.predict_precisely(window)
        except (DeviceLost, EngineUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - its neighbours have their scores already
            logger.warning("a window failed in fp32 too: %s", type(error).__name__)
            return _NONFINITE
        return row if _is_finite(row) else _NONFINITE


def _is_finite(row: list[float]) -> bool:
    return all(map(math.isfinite, row))


def _tokens(batch: list[Window]) -> int:
    return sum(len(window.token_ids) for window in batch)


_FAILED = TextError(
    code=ErrorCode.INFERENCE_FAILED, message="the model failed on this text, also alone"
)
_TOO_LARGE = TextError(
    code=ErrorCode.RESOURCE_EXHAUSTED, message="there is not enough memory to score this text"
)
_NONFINITE = TextError(
    code=ErrorCode.NONFINITE, message="the model's scores for this text are not numbers"
)
