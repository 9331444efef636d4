"""How long and how fast to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Decay", "Schedule"]

#: The learning rate's way down after the warm-up.
Decay = Literal["cosine", "linear"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Epochs, batches and rates.

    `warmup` is the share of all steps with a rising rate; from there it falls along half a
    cosine, or a straight line. `patience` epochs that are no better than the best end the
    training; 0 never does.
    """

    epochs: int = 2
    learning_rate: float = 1e-4
    batch_size: int = 32
    warmup: float = 0.06
    decay: Decay = "cosine"
    patience: int = 0
    seed: int = 1

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step (0 is the first): up linearly, then down to 0."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        left = (steps - step) / max(1, steps - rising)
        if self.decay == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * left
