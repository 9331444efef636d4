"""The training loop: epochs of batches, regular checkpoints, and the choice of the best epoch.

The Trainer of transformers is not used, for three reasons. It needs accelerate. It resumes an
epoch by drawing all its batches again. Float32 master weights, the rows of each epoch and the
files it writes would need workarounds.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from sentq_worker.training.errors import TrainingStopped
from sentq_worker.training.loop.state import TrainingState
from sentq_worker.training.loop.validation import predict_rows
from sentq_worker.training.metrics import Figures, figures_of, selection_score
from sentq_worker.training.model.temperature import best_temperature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from sentq_worker.training.data.corpus import EncodedRows
    from sentq_worker.training.data.training_set import TrainingSet
    from sentq_worker.training.loop.checkpoint import CheckpointStore
    from sentq_worker.training.loop.progress import ProgressReporter
    from sentq_worker.training.step.learner import Learner
    from sentq_worker.training.step.schedule import Schedule

__all__ = ["Trainer"]


class Trainer:
    """Trains `learner` on a training set; a new `Trainer` resumes from the last checkpoint."""

    def __init__(
        self,
        learner: Learner,
        store: CheckpointStore,
        *,
        schedule: Schedule,
        labels: Sequence[str],
        training_set: TrainingSet,
        validation: Sequence[EncodedRows],
        checkpoint_every_s: float = 120.0,
    ) -> None:
        self._learner = learner
        self._store = store
        self._schedule = schedule
        self._labels = labels
        self._training_set = training_set
        self._validation = validation
        self._checkpoint_every_s = checkpoint_every_s
        self._started = time.monotonic()
        self.state = TrainingState()

    @property
    def steps(self) -> int:
        """The optimizer steps of the whole training, if it does not stop early."""
        return self._schedule.epochs * self._training_set.batches_per_epoch

    @property
    def steps_done(self) -> int:
        """The optimizer steps so far, those before a resume included."""
        return self.state.epoch * self._training_set.batches_per_epoch + self.state.batch

    def run(
        self, reporter: ProgressReporter, *, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[str, torch.Tensor]:
        """Train, from the last checkpoint if there is one, and return the best epoch's weights.

        Raises:
            TrainingStopped: `should_stop` returned true; a checkpoint was saved before.
            DivergedError: The loss is not finite; the last checkpoint stays.
            CheckpointError: The checkpoint cannot be read or written.
            TrainingOptionsError: The checkpoint was made with other options.
        """
        self._resume(reporter)
        reporter.begin(steps=self.steps, done=self.steps_done)
        while self.state.epoch < self._schedule.epochs:
            if self._has_stalled():
                reporter.say(
                    f"stopping early: {self._schedule.patience} epochs without a better one"
                )
                break
            self._train_epoch(reporter, should_stop)
            self._finish_epoch(reporter)
        return self._store.load_best(self.state.best["epoch"])

    def _resume(self, reporter: ProgressReporter) -> None:
        self._started = time.monotonic()
        checkpoint = self._store.load()
        if checkpoint is None:
            return
        self._learner.restore(checkpoint["learner"])
        self.state = TrainingState(**checkpoint["training"])
        self._started -= self.state.wall_s
        reporter.say(f"resuming after step {self.steps_done} of {self.steps}")

    def _train_epoch(self, reporter: ProgressReporter, should_stop: Callable[[], bool]) -> None:
        state = self.state
        batches = self._training_set.epoch(state.epoch)
        saved_at = time.monotonic()
        for batch in batches[state.batch :]:
            rate = self._schedule.rate(self.steps_done, self.steps)
            loss = self._learner.learn(*self._training_set.rows(batch, state.epoch), rate=rate)
            state.batch += 1
            state.add_loss(loss, step=self.steps_done, steps=self.steps)
            reporter.stepped(texts=len(batch), loss=state.loss or loss)
            stop = should_stop()
            if stop or time.monotonic() - saved_at >= self._checkpoint_every_s:
                self._save()
                saved_at = time.monotonic()
            if stop:
                raise TrainingStopped(f"stopped after step {self.steps_done} of {self.steps}")

    def _has_stalled(self) -> bool:
        patience = self._schedule.patience
        if not (patience and self.state.history):
            return False
        scores = self._selection_scores()
        return len(scores) - 1 - scores.index(max(scores)) >= patience

    def _finish_epoch(self, reporter: ProgressReporter) -> None:
        with self._learner.evaluation_mode():
            predictions = [predict_rows(self._learner.predict, rows) for rows in self._validation]
        overall, by_file = self._figures(predictions)
        state = self.state
        state.epoch += 1
        state.batch = 0
        targets = [rows.targets for rows in self._validation]
        names = [rows.name for rows in self._validation]
        state.history.append(
            {
                "epoch": state.epoch,
                "step": self.steps_done,
                "overall": overall.as_json(),
                "files": [
                    {"name": name, **figures.as_json()}
                    for name, figures in zip(names, by_file, strict=True)
                ],
                "selection_score": selection_score(
                    list(zip(by_file, targets, strict=True)), labels=self._labels
                ),
                "temperature": best_temperature(list(zip(predictions, targets, strict=True))),
            }
        )
        reporter.say(f"epoch {state.epoch}: {overall.line()}")
        for name, figures in zip(names, by_file, strict=True):
            reporter.say(f"  {name}: {figures.line()}")
        self._keep_if_best()
        self._save()
        self._store.delete_worse(state.best["epoch"])

    def _figures(self, predictions: Sequence[list[list[float]]]) -> tuple[Figures, list[Figures]]:
        """Return the figures over all rows, and those of each file."""
        by_file = [
            figures_of(probabilities, rows.targets, labels=self._labels)
            for probabilities, rows in zip(predictions, self._validation, strict=True)
        ]
        all_rows = [row for probabilities in predictions for row in probabilities]
        all_targets = [target for rows in self._validation for target in rows.targets]
        return figures_of(all_rows, all_targets, labels=self._labels), by_file

    def _keep_if_best(self) -> None:
        scores = self._selection_scores()
        # Of equal epochs the later one is kept: it has trained longer, at a lower rate.
        if scores[-1] == max(scores):
            self.state.best_epoch = self.state.epoch
            self._store.save_best(self.state.epoch, self._learner.weights())

    def _selection_scores(self) -> list[float]:
        return [epoch["selection_score"] for epoch in self.state.history]

    def _save(self) -> None:
        self.state.wall_s = time.monotonic() - self._started
        self._store.save({"learner": self._learner.state(), "training": asdict(self.state)})
