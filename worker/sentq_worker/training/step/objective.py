"""The loss: cross entropy with optional class weights and label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["Objective", "balanced_weights"]


@dataclass(frozen=True, slots=True)
class Objective:
    """Cross entropy with label smoothing, and a weight per label (None: all weights are 1)."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over the rows; logits are (rows, labels), targets (rows,)."""
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        return functional.cross_entropy(
            logits, targets, weight=weights, label_smoothing=self.label_smoothing
        )


def balanced_weights(rows_by_label: Sequence[float]) -> tuple[float, ...]:
    """Return weights that give each label the same total weight; their mean over rows is 1."""
    total = sum(rows_by_label)
    return tuple(total / (len(rows_by_label) * rows) if rows else 0.0 for rows in rows_by_label)
