"""The schedule of a training: epochs, batch size and learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Decay", "Schedule"]

#: How the learning rate falls after the warm-up.
Decay = Literal["cosine", "linear"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Epochs, batch size, learning rate and early stopping.

    The rate rises over the share `warmup` of all steps, then falls to 0 along half a cosine or a
    straight line. Training stops after `patience` epochs without a new best; 0 disables this.
    """

    epochs: int = 2
    learning_rate: float = 1e-4
    batch_size: int = 32
    warmup: float = 0.06
    decay: Decay = "cosine"
    patience: int = 0
    seed: int = 1

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step (0 is the first) out of `steps`."""
        warmup_steps = max(1, round(self.warmup * steps))
        if step < warmup_steps:
            return self.learning_rate * (step + 1) / warmup_steps
        left = (steps - step) / max(1, steps - warmup_steps)
        if self.decay == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * left
