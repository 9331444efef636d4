"""The running mean of the weights, which does better than the weights of any one step.

Between steps the weights jump about a good place; their mean over the last steps lies nearer to
it. It costs a copy of the weights, and no step more (Izmailov et al. 2018, arXiv:1803.05407).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunningMean"]

#: Steps between two additions: one reads and writes all weights, a tenth of a step's time.
_EVERY = 5


class RunningMean:
    """The exponential mean of `named` over about the last `steps` steps."""

    def __init__(self, named: Mapping[str, torch.Tensor], *, steps: int) -> None:
        self._named = named
        self._decay = max(0.0, 1.0 - _EVERY / steps)
        self._steps_seen = 0
        self.weights = {name: one.detach().clone() for name, one in named.items()}

    def step(self) -> None:
        """Count a step that the weights have taken, and add them if it is their turn."""
        self._steps_seen += 1
        if self._steps_seen % _EVERY:
            return
        added = self._steps_seen // _EVERY
        # The first steps count less: they are far from where the weights are going.
        decay = min(self._decay, added / (added + 9))
        targets, sources = list(self.weights.values()), list(self._named.values())
        with torch.no_grad():
            torch._foreach_lerp_(targets, [one.detach() for one in sources], 1.0 - decay)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs."""
        return {"steps_seen": self._steps_seen, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self._steps_seen = state["steps_seen"]
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
