"""Calibration of a classifier: a temperature for all logits, and a bias for each label.

A temperature makes scores equal to accuracies (Guo et al. 2017, arXiv:1706.04599). It cannot
correct a label that is predicted too rarely because a part of the training data lacks it, such as
reviews without neutral ones: the logit of this label gets a bias. Both are folded into the last
layer, which is linear. The search minimises the largest calibration error of all files, so that
well calibrated files cannot compensate for a badly calibrated one.
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

#: A larger bias would calibrate better, but reduce the recall of positive and negative where they
#: are rare: on tweets by half a point per 0.1.
_BIASES = [number / 20 for number in range(5)]


@dataclass(frozen=True, slots=True)
class Scaling:
    """A divisor of all logits, and the bias that is then added for each label."""

    temperature: float
    bias: tuple[float, ...]

    @classmethod
    def fitted(
        cls,
        files: Sequence[tuple[Sequence[Sequence[float]], Sequence[int]]],
        *,
        raised: int | None = None,
        bias: Sequence[float] | None = None,
    ) -> Scaling:
        """Return the best scaling of a grid.

        Args:
            files: The probabilities of the rows, and the numbers of their correct labels.
            raised: The number of the label whose logit may get a bias, or None.
            bias: The bias of each label if it is known: only the temperature is searched then.
        """
        prepared = [
            (torch.tensor(found, dtype=torch.float64).clamp_min(1e-12).log(), torch.tensor(targets))
            for found, targets in files
        ]
        known = tuple(bias or [0.0] * prepared[0][0].shape[1])
        lifts = [0.0] if raised is None else _BIASES
        tried = [
            cls(temperature, tuple(one + lift * (at == raised) for at, one in enumerate(known)))
            for temperature, lift in product(_TEMPERATURES, lifts)
        ]
        return min(tried, key=lambda one: max(one.error(*each) for each in prepared))

    def error(self, logits: torch.Tensor, targets: torch.Tensor) -> float:
        """Return the expected calibration error of scaled logits (rows, labels)."""
        scores, guesses = self.scaled(logits).softmax(dim=-1).max(dim=-1)
        return calibration_of(scores.tolist(), (guesses == targets).tolist()).ece

    def scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scaled logits."""
        return logits / self.temperature + torch.tensor(self.bias, dtype=logits.dtype)

    def fold_into(
        self, weights: Mapping[str, torch.Tensor], *, layer: str
    ) -> dict[str, torch.Tensor]:
        """Return the weights, with the scaling folded into those of this linear layer."""
        parts = {f"{layer}.weight", f"{layer}.bias"}
        scaled = {
            name: one / self.temperature if name in parts else one for name, one in weights.items()
        }
        scaled[f"{layer}.bias"] = scaled[f"{layer}.bias"] + torch.tensor(self.bias)
        return scaled
