"""Calibration of a finished classifier: its logits divided by a temperature, and moved by a bias.

A temperature makes scores as sure as they are right; a bias a label mends what it cannot, a label
that is found too seldom everywhere (Guo et al. 2017, arXiv:1706.04599, call both together vector
scaling; here all labels share one temperature). Both go into the last layer, which is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Scaling:
    """What to divide all logits by, and what to add to each label's; the biases' sum is 0."""

    temperature: float
    bias: tuple[float, ...]

    @classmethod
    def fitted(
        cls, files: Sequence[tuple[Sequence[Sequence[float]], Sequence[int]]], *, biased: bool
    ) -> Scaling:
        """Find what makes right labels likeliest; each file has the same say.

        A file is the probabilities of its rows, and the numbers of their right labels.
        """
        prepared = [
            (torch.tensor(found, dtype=torch.float64).clamp_min(1e-12).log(), torch.tensor(targets))
            for found, targets in files
        ]
        sharpness = torch.zeros((), dtype=torch.float64, requires_grad=True)  # -log(temperature)
        raw_bias = torch.zeros(prepared[0][0].shape[1], dtype=torch.float64, requires_grad=biased)

        def misfit() -> torch.Tensor:
            losses = [
                cross_entropy(logits * sharpness.exp() + raw_bias, targets)
                for logits, targets in prepared
            ]
            return torch.stack(losses).mean()

        moved = [sharpness, raw_bias] if biased else [sharpness]
        search = torch.optim.LBFGS(moved, max_iter=_STEPS, line_search_fn="strong_wolfe")

        def step() -> float:
            search.zero_grad()
            loss = misfit()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        search.step(step)  # type: ignore[no-untyped-call]
        bias = (raw_bias - raw_bias.mean()).tolist()
        return cls(1 / sharpness.exp().item(), tuple(bias))

    def folded(self, weights: Mapping[str, torch.Tensor], *, layer: str) -> dict[str, torch.Tensor]:
        """Return the weights with both in this linear layer's."""
        parts = {f"{layer}.weight", f"{layer}.bias"}
        scaled = {
            name: one / self.temperature if name in parts else one for name, one in weights.items()
        }
        scaled[f"{layer}.bias"] = scaled[f"{layer}.bias"] + torch.tensor(self.bias)
        return scaled
