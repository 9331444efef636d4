"""The loss: cross entropy with labels or probabilities, class weights and label smoothing."""

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
        """Return the mean over the rows, each with the weight of its label.

        Args:
            logits: (rows, labels).
            targets: The numbers of the labels (rows,), or the probabilities (rows, labels), which
                must add up to 1. A row with probabilities has their mean of the labels' weights.
        """
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        loss = functional.cross_entropy(
            logits, targets, weight=weights, label_smoothing=self.label_smoothing
        )
        if weights is None or targets.ndim == 1:
            return loss
        # With probabilities, torch divides by the rows and not by their weights.
        return loss * len(targets) / (targets @ weights).sum()


def balanced_weights(rows_by_label: Sequence[float]) -> tuple[float, ...]:
    """Return weights that give each label the same total weight; their mean over rows is 1."""
    total = sum(rows_by_label)
    return tuple(total / (len(rows_by_label) * rows) if rows else 0.0 for rows in rows_by_label)
