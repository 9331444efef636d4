"""Model batches: the windows of many texts, in batches of similar length, through the engine.

The longest window determines the cost of a padded batch, so windows are sorted by length first. A
batch that fails is halved until the failing window is alone; the others are scored. If memory does
not suffice, batches become smaller permanently.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from sentq.contract import ErrorCode, TextError
from sentq_worker.engine.base import DeviceLost, Engine, EngineUnavailable, OutOfMemory, Window
from sentq_worker.engine.steps import Steps, run_steps

__all__ = ["Batcher", "Row"]

logger = logging.getLogger(__name__)

#: A window's probabilities, or the reason why there are none.
Row = list[float] | TextError


class Batcher:
    """Scores any number of windows. One thread at a time may use it.

    Args:
        engine: Computes the probabilities of a batch.
        batch_tokens: Most tokens of a forward pass, padding included. A single longer window is a
            batch of its own. If memory does not suffice, the batcher lowers the limit.
    """

    def __init__(self, engine: Engine, *, batch_tokens: int) -> None:
        self._engine = engine
        self._batch_tokens = batch_tokens
        #: Tokens that the engine has read: those of texts, and padding.
        self.tokens: Counter[str] = Counter(text=0, padding=0)

    @property
    def batch_tokens(self) -> int:
        """The present limit of a batch."""
        return self._batch_tokens

    def predict(self, windows: Sequence[Window]) -> list[Row]:
        """Score windows of any length; return a row for each, in order.

        Raises:
            DeviceLost: This process cannot compute anything any more.
            EngineUnavailable: The engine computes nothing at the moment.
        """
        return run_steps(self.predict_in_steps(windows))

    def predict_in_steps(self, windows: Sequence[Window]) -> Steps[list[Row]]:
        """Score windows as `predict` does, with a pause after each model batch."""
        rows: list[Row] = [_FAILED] * len(windows)
        for indices in self._batches(windows):
            batch_rows = yield from self._predict([windows[index] for index in indices])
            for index, row in zip(indices, batch_rows, strict=True):
                rows[index] = row
        return rows

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        by_length = sorted(range(len(windows)), key=lambda index: len(windows[index].token_ids))
        batch: list[int] = []
        tokens = 0
        for index in by_length:
            length = len(windows[index].token_ids)
            # Lengths ascend, so this window would be the longest of its batch.
            larger = (len(batch) + 1) * length if self._engine.pads else tokens + length
            if batch and larger > self._batch_tokens:
                yield batch
                batch, larger = [], length
            batch.append(index)
            tokens = larger
        if batch:
            yield batch

    def _predict(self, batch: list[Window]) -> Steps[list[Row]]:
        rows = self._attempt(batch)
        yield
        # Not inside an `except`: an error keeps its frames, and with them the tensors whose memory
        # the next attempt needs.
        if not isinstance(rows, TextError):
            return [
                row if _is_finite(row) else self._retry_precisely(window)
                for row, window in zip(rows, batch, strict=True)
            ]
        if len(batch) == 1:
            return [rows]
        if rows is _TOO_LARGE:
            self._lower_limit(batch)
            return (yield from self.predict_in_steps(batch))
        half = len(batch) // 2
        first = yield from self._predict(batch[:half])
        return first + (yield from self._predict(batch[half:]))

    def _attempt(self, batch: list[Window]) -> list[list[float]] | TextError:
        """Return the rows, or the error of a window that fails in this way alone."""
        try:
            return self._rows(batch)
        except OutOfMemory:
            return _TOO_LARGE
        except (DeviceLost, EngineUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - after any error the other windows are scored
            # The class alone: a message might quote a text.
            logger.warning("batch of %d failed: %s", len(batch), type(error).__name__)
            return _FAILED

    def _lower_limit(self, batch: list[Window]) -> None:
        """Lower the limit to half the size of a batch that did not fit in memory."""
        longest = max(len(window.token_ids) for window in batch)
        size = len(batch) * longest if self._engine.pads else _tokens(batch)
        # One window of this length is the smallest possible batch.
        self._batch_tokens = min(self._batch_tokens, max(size // 2, longest))
        logger.warning(
            "out of memory with %d tokens: batches have at most %d from now on",
            size,
            self._batch_tokens,
        )

    def _rows(self, batch: list[Window]) -> list[list[float]]:
        rows = self._engine.predict(batch)
        if len(rows) != len(batch):
            raise RuntimeError(f"the engine returned {len(rows)} rows for {len(batch)} windows")
        tokens = _tokens(batch)
        self.tokens["text"] += tokens
        if self._engine.pads:
            longest = max(len(window.token_ids) for window in batch)
            self.tokens["padding"] += len(batch) * longest - tokens
        return rows

    def _retry_precisely(self, window: Window) -> Row:
        """Score a window again whose scores were not finite: bf16 or its batch may be the cause."""
        try:
            row = self._engine.predict_precisely(window)
        except (DeviceLost, EngineUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - the other windows have their scores
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
    code=ErrorCode.NONFINITE, message="the model's scores for this text are not finite numbers"
)
