"""How far a training has come: what a checkpoint keeps beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TrainingState"]

#: Weight of the newest step in the running mean of the loss.
_NEWEST = 0.02

#: Points of the loss that are kept of a whole training.
_POINTS = 200


@dataclass(slots=True)
class TrainingState:
    """How far the training has come, and how the epochs behind it went.

    `batch` counts the batches done in the present epoch, `wall_s` the time of all runs together;
    `loss` is a running mean, and
    `losses` are points of (step, loss) along the way.
    """

    epoch: int = 0
    batch: int = 0
    wall_s: float = 0.0
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    loss: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any]:
        """The figures of the best epoch so far.

        Raises:
            LookupError: no epoch is finished.
        """
        if self.best_epoch is None:
            raise LookupError("no epoch is finished")
        best: dict[str, Any] = self.history[self.best_epoch - 1]
        return best

    def add_loss(self, loss: float, *, step: int, steps: int) -> None:
        """Take the loss of a step into the mean, and keep a point now and then."""
        self.loss = loss if self.loss is None else self.loss + _NEWEST * (loss - self.loss)
        if step % max(1, steps // _POINTS) == 0:
            self.losses.append((step, round(self.loss, 4)))
