"""Temperature scaling: fitted on the validation rows, and folded into the weights.

A classifier after long training is overconfident. Dividing its logits by one temperature
calibrates its probabilities and changes no label (Guo et al. 2017, arXiv:1706.04599). The last
layer is linear, so dividing its weights has the same effect: every loader gets calibrated scores.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["best_temperature", "fold_temperature", "last_layer"]

#: Standard deviation of the prior of log(temperature): a few rows that are all correct must not
#: make the model certain of every row.
_PRIOR_DEVIATION = 0.5

_LOWEST, _HIGHEST = 0.2, 5.0
_TOLERANCE = 1e-3
_GOLDEN = (math.sqrt(5) - 1) / 2


def best_temperature(files: Sequence[tuple[Sequence[Sequence[float]], Sequence[int]]]) -> float:
    """Return the temperature that minimises the cross entropy; each file has the same weight.

    A file is given as the probabilities of its rows, and the numbers of their correct labels.
    """
    prepared = [
        (torch.tensor(probabilities).clamp_min(1e-9).log(), torch.tensor(targets))
        for probabilities, targets in files
    ]
    rows = sum(len(targets) for _, targets in files)

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        losses = [
            torch.nn.functional.cross_entropy(logits / temperature, targets).item()
            for logits, targets in prepared
        ]
        prior = (log_temperature / _PRIOR_DEVIATION) ** 2 / 2
        return sum(losses) / len(losses) + prior / rows

    return math.exp(_minimum(loss, math.log(_LOWEST), math.log(_HIGHEST)))


def last_layer(model: torch.nn.Module, labels: int) -> str | None:
    """Return the name of the linear layer that computes the logits, or None."""
    linear = [
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part.out_features == labels
    ]
    return linear[-1] if linear else None


def fold_temperature(
    weights: Mapping[str, torch.Tensor], *, layer: str, temperature: float
) -> dict[str, torch.Tensor]:
    """Return the weights, with those of this layer divided by the temperature."""
    parts = {f"{layer}.weight", f"{layer}.bias"}
    return {name: one / temperature if name in parts else one for name, one in weights.items()}


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    # Golden-section search: the loss has one minimum.
    while high - low > _TOLERANCE:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if function(left) < function(right) else (left, high)
    return (low + high) / 2
