"""AdamW for fine-tuning, with a learning rate of its own for the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Optimizer", "OptimizerOptions"]


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """The options of AdamW.

    `head_rate` multiplies the learning rate of the head: the head starts from random weights, the
    body is pretrained. Gradients with a norm above `max_gradient_norm` are scaled down to it; 0
    disables this.
    """

    head_rate: float = 1.0
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0


class Optimizer:
    """Updates the weights of `named` in place; those outside of `body` belong to the head."""

    def __init__(
        self,
        named: Mapping[str, torch.Tensor],
        options: OptimizerOptions,
        *,
        body: str,
        fused: bool,
    ) -> None:
        self._weights = list(named.values())
        self._max_gradient_norm = options.max_gradient_norm
        self._adam = torch.optim.AdamW(list(_groups(named, options, body)), lr=0.0, fused=fused)

    def step(self, rate: float) -> None:
        """Clip the gradients, which all weights must have, and step at this learning rate."""
        if self._max_gradient_norm:
            torch.nn.utils.clip_grad_norm_(self._weights, self._max_gradient_norm)
        for group in self._adam.param_groups:
            group["lr"] = rate * group["rate_factor"]
        self._adam.step()

    def state(self) -> dict[str, object]:
        """Return the state that `restore` takes."""
        state: dict[str, object] = self._adam.state_dict()
        return state

    def restore(self, state: dict[str, object]) -> None:
        """Restore a state that `state` returned."""
        self._adam.load_state_dict(state)


def _groups(
    named: Mapping[str, torch.Tensor], options: OptimizerOptions, body: str
) -> Iterator[dict[str, object]]:
    groups: dict[tuple[float, float], list[torch.Tensor]] = {}
    for name, weight in named.items():
        factor = 1.0 if body and name.startswith(f"{body}.") else options.head_rate
        # Biases and normalisation weights, which have one dimension, do not decay.
        decay = options.weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(weight)
    for (factor, decay), weights in groups.items():
        yield {"params": weights, "weight_decay": decay, "rate_factor": factor}
