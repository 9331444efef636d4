"""What is shown of a run while it goes on: a line on the terminal, lines of JSON, or nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from sentq.contract import Outcome, TextError
from sentq.files.run.tally import RunTally
from sentq.rendering import printable

__all__ = ["ProgressKind", "RunFigures", "RunWatch", "watch_of"]

#: Seconds between two lines of JSON, and between two looks of the terminal.
_LINE_EVERY_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.2

#: More labels than these are not shown.
_SHOWN_LABELS: Final = 5

#: The width of the bar, and on a terminal with less than so many columns.
_BAR_WIDTH: Final = 30
_NARROW_BAR_WIDTH: Final = 14
_WIDE_COLUMNS: Final = 80


class ProgressKind(StrEnum):
    """How the progress is shown."""

    AUTO = "auto"
    BAR = "bar"
    JSON = "json"
    NONE = "none"


class RunFigures:
    """The figures of a run that goes on.

    Attributes:
        rows: How many rows are scored, those of earlier runs too.
        total: How many there are; None if that is not known.
        share: Which share of the input is scored; None if that is not known.
        labels: How many rows have each label.
        errors: How many rows have each code of an error.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.total: int | None = None
        self.share: float | None = None
        self.labels: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._rows_before = 0
        self._share_before: float | None = None
        self._began = time.monotonic()

    def begin(self, tally: RunTally, total: int | None) -> None:
        """Begin with the counts of earlier runs."""
        self.rows = self._rows_before = tally.rows
        self.labels, self.errors = Counter(tally.labels), Counter(tally.errors)
        self.total = total
        self._began = time.monotonic()

    def add(self, outcomes: Sequence[Outcome], share: float | None) -> None:
        """Add outcomes. `share` is then scored."""
        self.rows += len(outcomes)
        self.labels.update([each.label for each in outcomes if not isinstance(each, TextError)])
        self.errors.update([str(each.code) for each in outcomes if isinstance(each, TextError)])
        self.share = self.rows / self.total if self.total else share
        if self._share_before is None and self.share is not None and self.rows:
            # Of an input that is read by bytes, what earlier runs scored is known only now.
            self._share_before = self.share * self._rows_before / self.rows

    @property
    def elapsed_s(self) -> float:
        """Seconds since this run began."""
        return time.monotonic() - self._began

    @property
    def rows_per_s(self) -> float:
        """The rate of this run."""
        return (self.rows - self._rows_before) / max(self.elapsed_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; None if that is not known."""
        if self.share is None or self._share_before is None or self.share <= self._share_before:
            return None
        return self.elapsed_s * max(0.0, 1 - self.share) / (self.share - self._share_before)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as a line of `--progress json` has them."""
        left_s = self.left_s
        return {
            "event": "progress",
            "rows": self.rows,
            "total": self.total,
            "share": None if self.share is None else round(self.share, 4),
            "rows_per_s": round(self.rows_per_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
            "errors": dict(self.errors),
            "labels": dict(self.labels),
        }


class RunWatch(Protocol):
    """Is told of the progress of a run. Used in a `with` block."""

    @property
    def figures(self) -> RunFigures:
        """The figures of the run."""

    def begin(self, tally: RunTally, total: int | None, *, resumes: bool) -> None:
        """Show that the run begins, or resumes."""

    def add(self, outcomes: Sequence[Outcome], share: float | None) -> None:
        """Show that rows were scored."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def watch_of(kind: ProgressKind, console: Console) -> RunWatch:
    """Return what shows the progress on a console. `auto` shows a bar on a terminal only."""
    if kind is ProgressKind.JSON:
        return _JsonWatch()
    if kind is ProgressKind.BAR or (kind is ProgressKind.AUTO and console.is_terminal):
        return _BarWatch(console)
    return _QuietWatch(console if kind is ProgressKind.AUTO else None)


class _QuietWatch:
    """Says only that a run resumes.

    Args:
        console: Where it says that; None for nowhere.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.figures = RunFigures()
        self._console = console

    def begin(self, tally: RunTally, total: int | None, *, resumes: bool) -> None:
        """See `RunWatch`."""
        self.figures.begin(tally, total)
        if resumes and self._console is not None:
            self._console.print(f"sentq: going on after {tally.rows:,} rows", markup=False)

    def add(self, outcomes: Sequence[Outcome], share: float | None) -> None:
        """See `RunWatch`."""
        self.figures.add(outcomes, share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class _JsonWatch(_QuietWatch):
    """Writes a line of JSON to standard error every second."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def begin(self, tally: RunTally, total: int | None, *, resumes: bool) -> None:
        """See `RunWatch`."""
        super().begin(tally, total, resumes=resumes)
        self._write({"event": "resume" if resumes else "begin", "rows": tally.rows, "total": total})

    def add(self, outcomes: Sequence[Outcome], share: float | None) -> None:
        """See `RunWatch`."""
        super().add(outcomes, share)
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            self._write(self.figures.as_json())

    def _write(self, fields: dict[str, Any]) -> None:
        sys.stderr.write(orjson.dumps(fields).decode() + "\n")
        sys.stderr.flush()


class _BarWatch(_QuietWatch):
    """Shows two lines on a terminal: how far, how fast, how long; labels and errors."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last = 0.0

    def add(self, outcomes: Sequence[Outcome], share: float | None) -> None:
        """See `RunWatch`."""
        super().add(outcomes, share)
        now = time.monotonic()
        if now - self._last >= _LOOK_EVERY_S:
            self._last = now
            columns = self._live.console.width
            self._live.update(_picture(self.figures, columns), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


def _picture(figures: RunFigures, columns: int) -> Grid:
    """Return the two lines; more of them on a terminal with few columns."""
    of_total = "" if figures.total is None else f" of {figures.total:,}"
    course = [f"{figures.rows:,}{of_total} rows", f"{figures.rows_per_s:,.0f} a second"]
    if figures.left_s is not None:
        course.append(f"{_clock(figures.left_s)} left")
    scored = max(1, figures.labels.total())
    labels = [
        f"{printable(label)} {count / scored:.0%}"
        for label, count in figures.labels.most_common(_SHOWN_LABELS)
    ]
    failures = figures.errors.total()
    errors = Text(
        f"{failures:,} error{'' if failures == 1 else 's'}",
        style="yellow" if failures else "dim",
    )
    width = _BAR_WIDTH if columns >= _WIDE_COLUMNS else _NARROW_BAR_WIDTH
    bar = ProgressBar(
        total=1, completed=figures.share or 0, width=width, pulse=figures.share is None
    )
    grid = Grid.grid(padding=(0, 2))
    grid.add_row(bar, _joined(course, columns - width - 4))
    grid.add_row(errors, _joined(labels, columns - width - 4))
    return grid


def _joined(pieces: Sequence[str], columns: int) -> Text:
    """Join pieces by spaces, and none of them is broken: the next one begins a line."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(longer := f"{lines[-1]}   {piece}") <= columns:
            lines[-1] = longer
        else:
            lines.append(piece)
    return Text("\n".join(lines))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
