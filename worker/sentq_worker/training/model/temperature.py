"""Calibration: one temperature, found on the validation rows and folded into the weights.

A classifier that has learned long is surer than it is right. Dividing its logits by one number
makes its probabilities frequencies again and changes no label (Guo et al. 2017,
arXiv:1706.04599). The last layer is linear, so dividing its weights does the same: every loader
gets calibrated scores without knowing of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["best_temperature", "fold_temperature", "last_layer"]

#: Deviation of log(temperature) that is thought likely before any row is seen: a handful of
#: rows that are all right must not make a model sure of everything.
_EXPECTED_DEVIATION = 0.5

_LOWEST, _HIGHEST = 0.2, 5.0
_TOLERANCE = 1e-3
_GOLDEN = (math.sqrt(5) - 1) / 2


def best_temperature(files: Sequence[tuple[Sequence[Sequence[float]], Sequence[int]]]) -> float:
    """Return the temperature that makes right labels likeliest; each file has the same say.

    A file is the probabilities of its rows, and the numbers of their right labels.
    """
    prepared = [
        (torch.tensor(probabilities).clamp_min(1e-9).log(), torch.tensor(targets))
        for probabilities, targets in files
    ]
    rows = sum(len(targets) for _, targets in files)

    def misfit(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        losses = [
            torch.nn.functional.cross_entropy(logits / temperature, targets).item()
            for logits, targets in prepared
        ]
        doubt = (log_temperature / _EXPECTED_DEVIATION) ** 2 / 2
        return sum(losses) / len(losses) + doubt / rows

    return math.exp(_lowest_point(misfit, math.log(_LOWEST), math.log(_HIGHEST)))


def last_layer(model: torch.nn.Module, labels: int) -> str | None:
    """Return the name of the linear layer that gives the logits; None if there is no such."""
    linear = [
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part.out_features == labels
    ]
    return linear[-1] if linear else None


def fold_temperature(
    weights: Mapping[str, torch.Tensor], *, layer: str, temperature: float
) -> dict[str, torch.Tensor]:
    """Return the weights with this layer's divided by the temperature."""
    parts = {f"{layer}.weight", f"{layer}.bias"}
    return {name: one / temperature if name in parts else one for name, one in weights.items()}


def _lowest_point(height: Callable[[float], float], low: float, high: float) -> float:
    # Golden-section search: the misfit has one valley.
    while high - low > _TOLERANCE:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if height(left) < height(right) else (left, high)
    return (low + high) / 2
