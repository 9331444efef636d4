"""The loop: epochs of batches, a checkpoint now and then, the best epoch kept."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sentq_worker.training.batches import batches_per_epoch, epoch_batches
from sentq_worker.training.errors import TrainingStopped
from sentq_worker.training.evaluation import Figures, figures_of, score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from sentq_worker.training.checkpoint import CheckpointStore
    from sentq_worker.training.corpus import Encoded
    from sentq_worker.training.learner import Learner
    from sentq_worker.training.progress import Reporter

__all__ = ["Course", "Schedule", "Training"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn. `warmup` is the share of all steps with a rising rate."""

    epochs: int = 2
    learning_rate: float = 1e-4
    batch_size: int = 32
    warmup: float = 0.06
    seed: int = 1

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step (0 is the first): up linearly, then down to 0."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (steps - step) / max(1, steps - rising)


@dataclass(slots=True)
class Course:
    """How far the training has come, and how the epochs behind it went.

    `batch` counts the batches done in the present epoch, `wall_s` the time of all runs together.
    """

    epoch: int = 0
    batch: int = 0
    wall_s: float = 0.0
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

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


class Training:
    """Teaches `learner` the training rows; `run` may be called again after any interruption."""

    def __init__(
        self,
        learner: Learner,
        store: CheckpointStore,
        *,
        schedule: Schedule,
        labels: Sequence[str],
        training: Sequence[Encoded],
        weights: Sequence[float],
        validation: Sequence[Encoded],
        checkpoint_every_s: float = 120.0,
    ) -> None:
        self._learner = learner
        self._store = store
        self._schedule = schedule
        self._labels = labels
        self._weights = weights
        self._validation = validation
        self._checkpoint_every_s = checkpoint_every_s
        self._sizes = [len(source) for source in training]
        self._token_ids = [ids for source in training for ids in source.token_ids]
        self._targets = [target for source in training for target in source.targets]
        self._lengths = [len(ids) for ids in self._token_ids]
        self._steps_per_epoch = batches_per_epoch(self._sizes, weights, schedule.batch_size)
        self._begun = time.monotonic()
        self.course = Course()

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self._schedule.epochs * self._steps_per_epoch

    @property
    def steps_done(self) -> int:
        return self.course.epoch * self._steps_per_epoch + self.course.batch

    def run(
        self, reporter: Reporter, *, should_stop: Callable[[], bool] = lambda: False
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
        while self.course.epoch < self._schedule.epochs:
            self._train_epoch(reporter, should_stop)
            self._finish_epoch(reporter)
        return self._store.load_best(self.course.best["epoch"])

    def _resume(self, reporter: Reporter) -> None:
        self._begun = time.monotonic()
        state = self._store.load()
        if state is None:
            return
        self._learner.restore(state["learner"])
        self.course = Course(**state["course"])
        self._begun -= self.course.wall_s
        reporter.say(f"resuming after step {self.steps_done} of {self.steps}")

    def _train_epoch(self, reporter: Reporter, should_stop: Callable[[], bool]) -> None:
        course = self.course
        batches = epoch_batches(
            self._lengths,
            self._sizes,
            self._weights,
            batch_size=self._schedule.batch_size,
            seed=self._schedule.seed,
            epoch=course.epoch,
        )
        saved = time.monotonic()
        for rows in batches[course.batch :]:
            loss = self._learner.learn(
                [self._token_ids[row] for row in rows],
                [self._targets[row] for row in rows],
                rate=self._schedule.rate(self.steps_done, self.steps),
            )
            course.batch += 1
            reporter.stepped(texts=len(rows), loss=loss)
            stop = should_stop()
            if stop or time.monotonic() - saved >= self._checkpoint_every_s:
                self._save()
                saved = time.monotonic()
            if stop:
                raise TrainingStopped(f"stopped after step {self.steps_done} of {self.steps}")

    def _finish_epoch(self, reporter: Reporter) -> None:
        overall, by_file = self._validate()
        course = self.course
        course.epoch += 1
        course.batch = 0
        course.history.append(
            {
                "epoch": course.epoch,
                "overall": overall.as_json(),
                "files": [{"name": name, **figures.as_json()} for name, figures in by_file],
            }
        )
        reporter.say(f"epoch {course.epoch}: {overall.line()}")
        for name, figures in by_file:
            reporter.say(f"  {name}: {figures.line()}")
        self._keep_if_best()
        self._save()
        self._store.drop_worse(course.best["epoch"])

    def _validate(self) -> tuple[Figures, list[tuple[str, Figures]]]:
        """Score all validation rows; the overall figures give every row the same weight."""
        all_probabilities: list[list[float]] = []
        all_targets: list[int] = []
        by_file = []
        for rows in self._validation:
            probabilities = score(self._learner.predict, rows)
            figures = figures_of(probabilities, rows.targets, labels=self._labels)
            by_file.append((rows.name, figures))
            all_probabilities += probabilities
            all_targets += rows.targets
        return figures_of(all_probabilities, all_targets, labels=self._labels), by_file

    def _keep_if_best(self) -> None:
        course = self.course
        accuracies = [epoch["overall"]["accuracy"] for epoch in course.history]
        # The later of two equals: it has learned longer, at a lower rate.
        if accuracies[-1] == max(accuracies):
            course.best_epoch = course.epoch
            self._store.save_best(course.epoch, self._learner.weights())

    def _save(self) -> None:
        self.course.wall_s = time.monotonic() - self._begun
        self._store.save({"learner": self._learner.state(), "course": asdict(self.course)})
