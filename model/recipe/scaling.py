"""Calibration of a finished classifier: its logits divided by a temperature, one label's lifted.

A temperature makes scores as sure as they are right (Guo et al. 2017, arXiv:1706.04599). It cannot
mend a label that is given too seldom because a part of the training data lacks it, as reviews
without neutral ones do: this label's logit is lifted. Both go into the last layer, which is
linear. What is sought is the least of the largest calibration error that any of the files has: one
that fits badly must not be made up for by those that fit well.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch

from sentq_worker.evaluate.calibration import calibration_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEMPERATURES = [number / 50 for number in range(30, 126)]

#: More would mend more of the calibration, and cost the labels at the poles recall where they are
#: rare: on tweets half a point for each 0.1.
_LIFTS = [number / 20 for number in range(5)]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What to divide all logits by, and what to add to each label's after that."""

    temperature: float
    bias: tuple[float, ...]

    @classmethod
    def fitted(
        cls,
        files: Sequence[tuple[Sequence[Sequence[float]], Sequence[int]]],
        *,
        lifted: int | None = None,
    ) -> Scaling:
        """Try all; a file is the probabilities of its rows, and the numbers of their right labels.

        `lifted` is the number of the label whose logit may be lifted; None is for none.
        """
        prepared = [
            (torch.tensor(found, dtype=torch.float64).clamp_min(1e-12).log(), torch.tensor(targets))
            for found, targets in files
        ]
        labels = prepared[0][0].shape[1]
        lifts = [0.0] if lifted is None else _LIFTS
        tried = [
            cls(temperature, tuple(lift if number == lifted else 0.0 for number in range(labels)))
            for temperature, lift in product(_TEMPERATURES, lifts)
        ]
        return min(tried, key=lambda one: max(one.error(*each) for each in prepared))

    def error(self, logits: torch.Tensor, targets: torch.Tensor) -> float:
        """Return the expected calibration error that rows would have; logits (rows, labels)."""
        scores, guesses = self.scaled(logits).softmax(dim=-1).max(dim=-1)
        return calibration_of(scores.tolist(), (guesses == targets).tolist()).ece

    def scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """Return what the folded weights would give instead of these logits."""
        return logits / self.temperature + torch.tensor(self.bias, dtype=logits.dtype)

    def fold_into(
        self, weights: Mapping[str, torch.Tensor], *, layer: str
    ) -> dict[str, torch.Tensor]:
        """Return the weights with both in this linear layer's."""
        parts = {f"{layer}.weight", f"{layer}.bias"}
        scaled = {
            name: one / self.temperature if name in parts else one for name, one in weights.items()
        }
        scaled[f"{layer}.bias"] = scaled[f"{layer}.bias"] + torch.tensor(self.bias)
        return scaled
