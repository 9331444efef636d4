"""Progress of a training on standard error: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

__all__ = ["BarReporter", "LineReporter", "ProgressReporter", "reporter_for"]


class ProgressReporter(Protocol):
    """Receives every step and shows progress. A context manager around the training.

    `loss` is a running mean, because the loss of a single step varies too much.
    """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def say(self, message: str) -> None: ...
    def begin(self, *, steps: int, done: int) -> None: ...
    def stepped(self, *, texts: int, loss: float) -> None: ...


class _Meter:
    """Counts steps and texts, and computes the speed since it was created."""

    def __init__(self, steps: int, done: int) -> None:
        self.steps = steps
        self.done = done
        self._loss = 0.0
        self._texts = 0
        self._done_at_start = done
        self._started = time.monotonic()

    def add(self, texts: int, loss: float) -> None:
        self.done += 1
        self._texts += texts
        self._loss = loss

    @property
    def texts_per_s(self) -> float:
        return self._texts / max(time.monotonic() - self._started, 1e-9)

    @property
    def remaining_s(self) -> float:
        seconds_per_step = (time.monotonic() - self._started) / max(
            self.done - self._done_at_start, 1
        )
        return seconds_per_step * (self.steps - self.done)

    @property
    def figures(self) -> str:
        return f"loss {self._loss:.3f}  {self.texts_per_s:.0f} texts/s"


class BarReporter:
    """A progress bar on one line of a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task: TaskID | None = None
        self._meter = _Meter(0, 0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        self._progress.console.print(message, markup=False, highlight=False)

    def begin(self, *, steps: int, done: int) -> None:
        self._meter = _Meter(steps, done)
        self._task = self._progress.add_task("", total=steps, completed=done, figures="")

    def stepped(self, *, texts: int, loss: float) -> None:
        self._meter.add(texts, loss)
        if self._task is not None:
            self._progress.update(self._task, advance=1, figures=self._meter.figures)


class LineReporter:
    """A line of text every `every_s` seconds, for logs."""

    def __init__(self, console: Console, *, every_s: float = 30.0) -> None:
        self._console = console
        self.every_s = every_s
        self._meter = _Meter(0, 0)
        self._reported_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def begin(self, *, steps: int, done: int) -> None:
        self._meter = _Meter(steps, done)

    def stepped(self, *, texts: int, loss: float) -> None:
        self._meter.add(texts, loss)
        if time.monotonic() - self._reported_at >= self.every_s:
            self._reported_at = time.monotonic()
            meter = self._meter
            remaining_min = meter.remaining_s / 60
            self.say(
                f"step {meter.done} of {meter.steps}  {meter.figures}  {remaining_min:.1f} min left"
            )


def reporter_for(console: Console) -> ProgressReporter:
    """Return the bar for a terminal, and lines for anything else."""
    return BarReporter(console) if console.is_terminal else LineReporter(console)
