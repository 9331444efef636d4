"""The progress of a training, which a checkpoint stores beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from sentq_worker.training.metrics import FiguresRecord

__all__ = ["EpochRecord", "FileRecord", "TrainingState"]

#: Weight of the newest step in the running mean of the loss.
_NEWEST_WEIGHT = 0.02

#: Points of the loss curve that are kept of a whole training.
_MAX_POINTS = 200


class FileRecord(FiguresRecord):
    """The figures of one validation file after an epoch."""

    name: str


class EpochRecord(TypedDict):
    """What training.json records about an epoch; `overall` is over the rows of all files."""

    epoch: int
    step: int
    overall: FiguresRecord
    files: list[FileRecord]
    selection_score: float
    temperature: float | None


@dataclass(slots=True)
class TrainingState:
    """The progress of a training, and the records of its finished epochs.

    `batch` counts the finished batches of the current epoch, and `wall_s` the time of all runs
    together. `loss` is a running mean, and `losses` are points (step, loss) of its curve.
    """

    epoch: int = 0
    batch: int = 0
    wall_s: float = 0.0
    best_epoch: int | None = None
    history: list[EpochRecord] = field(default_factory=list)
    loss: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> EpochRecord:
        """The record of the best epoch so far.

        Raises:
            LookupError: No epoch is finished.
        """
        if self.best_epoch is None:
            raise LookupError("no epoch is finished")
        return self.history[self.best_epoch - 1]

    def add_loss(self, loss: float, *, step: int, steps: int) -> None:
        """Update the running mean with the loss of a step, and keep a point at regular steps."""
        self.loss = loss if self.loss is None else self.loss + _NEWEST_WEIGHT * (loss - self.loss)
        if step % max(1, steps // _MAX_POINTS) == 0:
            self.losses.append((step, round(self.loss, 4)))
