"""The loop: epochs of batches, a checkpoint now and then, the best epoch kept.

A loop of our own and not transformers' Trainer: that one needs accelerate, resumes by drawing
all batches of an epoch again, and leaves float32 master weights, the choice of each epoch's rows
and the files it writes to be worked around.
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
    """Teaches `learner` the training_set; `run` may be called again after any interruption."""

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
        self._begun = time.monotonic()
        self.state = TrainingState()

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training, if it is not stopped early."""
        return self._schedule.epochs * self._training_set.batches_per_epoch

    @property
    def steps_done(self) -> int:
        return self.state.epoch * self._training_set.batches_per_epoch + self.state.batch

    def run(
        self, reporter: ProgressReporter, *, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[str, torch.Tensor]:
        """Train, from the last checkpoint if there is one; return the best epoch's weights.

        Raises:
            TrainingStopped: `should_stop` said so; a checkpoint was saved just before.
            DivergedError: the loss is not finite; the last checkpoint stays.
            CheckpointError: the checkpoint cannot be read or written.
            TrainingOptionsError: the checkpoint was made with other options.
        """
        self._resume(reporter)
        reporter.begin(steps=self.steps, done=self.steps_done)
        while self.state.epoch < self._schedule.epochs:
            if self._has_stalled():
                reporter.say(f"{self._schedule.patience} epochs without a better: stopping early")
                break
            self._train_epoch(reporter, should_stop)
            self._finish_epoch(reporter)
        return self._store.load_best(self.state.best["epoch"])

    def _resume(self, reporter: ProgressReporter) -> None:
        self._begun = time.monotonic()
        checkpoint = self._store.load()
        if checkpoint is None:
            return
        self._learner.restore(checkpoint["learner"])
        self.state = TrainingState(**checkpoint["training"])
        self._begun -= self.state.wall_s
        reporter.say(f"resuming after step {self.steps_done} of {self.steps}")

    def _train_epoch(self, reporter: ProgressReporter, should_stop: Callable[[], bool]) -> None:
        state = self.state
        batches = self._training_set.epoch(state.epoch)
        saved = time.monotonic()
        for batch in batches[state.batch :]:
            rate = self._schedule.rate(self.steps_done, self.steps)
            loss = self._learner.learn(*self._training_set.rows(batch, state.epoch), rate=rate)
            state.batch += 1
            state.add_loss(loss, step=self.steps_done, steps=self.steps)
            reporter.stepped(texts=len(batch), loss=state.loss or loss)
            stop = should_stop()
            if stop or time.monotonic() - saved >= self._checkpoint_every_s:
                self._save()
                saved = time.monotonic()
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
            answers = [
                (rows, predict_rows(self._learner.predict, rows)) for rows in self._validation
            ]
        overall, by_file = self._figures(answers)
        state = self.state
        state.epoch += 1
        state.batch = 0
        state.history.append(
            {
                "epoch": state.epoch,
                "step": self.steps_done,
                "overall": overall.as_json(),
                "files": [{"name": name, **figures.as_json()} for name, figures in by_file],
                "selection_score": selection_score(
                    [
                        (figures, rows.targets)
                        for (_, figures), (rows, _) in zip(by_file, answers, strict=True)
                    ],
                    labels=self._labels,
                ),
                "temperature": best_temperature([(found, rows.targets) for rows, found in answers]),
            }
        )
        reporter.say(f"epoch {state.epoch}: {overall.line()}")
        for name, figures in by_file:
            reporter.say(f"  {name}: {figures.line()}")
        self._keep_if_best()
        self._save()
        self._store.drop_worse(state.best["epoch"])

    def _figures(
        self, answers: Sequence[tuple[EncodedRows, list[list[float]]]]
    ) -> tuple[Figures, list[tuple[str, Figures]]]:
        """Compare with the labels; the overall figures give every row the same weight."""
        by_file = [
            (rows.name, figures_of(found, rows.targets, labels=self._labels))
            for rows, found in answers
        ]
        all_found = [row for _, found in answers for row in found]
        all_targets = [target for rows, _ in answers for target in rows.targets]
        return figures_of(all_found, all_targets, labels=self._labels), by_file

    def _keep_if_best(self) -> None:
        scores = self._selection_scores()
        # The later of two equals: it has learned longer, at a lower rate.
        if scores[-1] == max(scores):
            self.state.best_epoch = self.state.epoch
            self._store.save_best(self.state.epoch, self._learner.weights())

    def _selection_scores(self) -> list[float]:
        return [epoch["selection_score"] for epoch in self.state.history]

    def _save(self) -> None:
        self.state.wall_s = time.monotonic() - self._begun
        self._store.save({"learner": self._learner.state(), "training": asdict(self.state)})
