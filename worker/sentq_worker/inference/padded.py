"""The forward pass that every sequence-classification model has: a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from sentq_worker.engine.base import Window
from sentq_worker.inference.classifier import Classifier

__all__ = ["PaddedForward"]


class PaddedForward:
    """Pads a batch to its longest window. See `Forward` in `equivalence`."""

    name: Final = "padded"

    def __init__(self, model: Classifier, *, pad_id: int | None) -> None:
        self._model = model
        self._pad_id = pad_id

    def logits(self, batch: Sequence[Window]) -> torch.Tensor:
        """Return the logits, shape (windows, labels), in the order of the batch."""
        if self._pad_id is None:
            # Without a padding token decoders reject more than one window.
            return torch.cat([self._forward([window], 0) for window in batch])
        return self._forward(batch, self._pad_id)

    def _forward(self, batch: Sequence[Window], pad_id: int) -> torch.Tensor:
        longest = max(len(window.token_ids) for window in batch)
        ids = torch.full((len(batch), longest), pad_id, dtype=torch.long)  # (B, T)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(batch):
            ids[row, : len(window.token_ids)] = torch.tensor(window.token_ids)
            mask[row, : len(window.token_ids)] = 1
        device = self._model.device
        logits: torch.Tensor = self._model(
            input_ids=ids.to(device), attention_mask=mask.to(device)
        ).logits
        return logits
