"""The running mean of the weights, which scores better than the weights of a single step.

Late in training the weights move around a minimum, and their mean over the last steps is closer
to it. It costs one copy of the weights, and no further step (Izmailov et al. 2018,
arXiv:1803.05407).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunningMean", "RunningMeanState"]

#: Steps between two updates: one reads and writes all weights, and takes a tenth of a step.
_STEPS_PER_UPDATE = 5


class RunningMeanState(TypedDict):
    """The state of a `RunningMean` in a checkpoint."""

    steps_seen: int
    weights: dict[str, torch.Tensor]


class RunningMean:
    """The exponential moving average of `named` over about the last `steps` steps."""

    def __init__(self, named: Mapping[str, torch.Tensor], *, steps: int) -> None:
        self._named = named
        self._decay = max(0.0, 1.0 - _STEPS_PER_UPDATE / steps)
        self._steps_seen = 0
        self.weights = {name: one.detach().clone() for name, one in named.items()}

    def step(self) -> None:
        """Count an optimizer step, and update the mean at every fifth one."""
        self._steps_seen += 1
        if self._steps_seen % _STEPS_PER_UPDATE:
            return
        updates = self._steps_seen // _STEPS_PER_UPDATE
        # The first updates get less weight: the weights still change much.
        decay = min(self._decay, updates / (updates + 9))
        targets, sources = list(self.weights.values()), list(self._named.values())
        with torch.no_grad():
            torch._foreach_lerp_(targets, [one.detach() for one in sources], 1.0 - decay)

    def state(self) -> RunningMeanState:
        """Return the state that `restore` takes."""
        return {"steps_seen": self._steps_seen, "weights": self.weights}

    def restore(self, state: RunningMeanState) -> None:
        """Restore a state that `state` returned."""
        self._steps_seen = state["steps_seen"]
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
