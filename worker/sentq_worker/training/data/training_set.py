"""The training set: rows of all sources, drawn for each epoch, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentq_worker.training.data.batches import batches_per_epoch, epoch_batches
from sentq_worker.training.data.windows import epoch_window

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from sentq_worker.training.data.corpus import EncodedRows

__all__ = ["Target", "TrainingSet"]

#: What the loss of a row is computed with: the number of its label, or all labels' probabilities.
Target = int | tuple[float, ...]


class TrainingSet:
    """The rows of all sources; what an epoch draws follows from the seed and the epoch's number.

    Of texts that are longer than `max_tokens`, each epoch draws a window.
    """

    def __init__(
        self,
        sources: Sequence[EncodedRows],
        weights: Sequence[float],
        *,
        batch_size: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        self._weights = weights
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._seed = seed
        self._special_tokens = sources[0].special_tokens
        self._sizes = [len(source) for source in sources]
        self._token_ids = [ids for source in sources for ids in source.token_ids]
        # Either all sources have soft targets or none has.
        self._targets: list[Target] = [
            target for source in sources for target in source.soft_targets or source.targets
        ]
        self._lengths = [min(len(ids), max_tokens) for ids in self._token_ids]

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches of each epoch."""
        return batches_per_epoch(self._sizes, self._weights, self._batch_size)

    def epoch(self, number: int) -> list[list[int]]:
        """Return the batches of an epoch (0 is the first), as row numbers."""
        return epoch_batches(
            self._lengths,
            self._sizes,
            self._weights,
            batch_size=self._batch_size,
            seed=self._seed,
            epoch=number,
        )

    def rows(self, batch: Sequence[int], epoch: int) -> tuple[list[array[int]], list[Target]]:
        """Return the token ids of a batch, at most `max_tokens` per row, and the targets."""
        tokens = [
            epoch_window(
                self._token_ids[row],
                max_tokens=self._max_tokens,
                special_tokens=self._special_tokens,
                seed=f"{self._seed}:{epoch}:{row}",
            )
            for row in batch
        ]
        return tokens, [self._targets[row] for row in batch]
