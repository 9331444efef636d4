"""Charts of the last hour: the series for the browser, and drawings for one without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sentq.wire.history.reading import HistorySlot

__all__ = ["HEIGHT", "WIDTH", "Chart", "Line", "charts_of", "series_of"]

#: The size of a drawing, in its own units.
WIDTH: Final = 600
HEIGHT: Final = 140


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: What it shows.
        last: Its last value; None without one.
        paths: Its drawing: the points of each part without a gap, as SVG takes them.
    """

    name: str
    last: float | None
    paths: list[str]


class Chart(NamedTuple):
    """A chart.

    Attributes:
        id: Its name in the document.
        title: What it shows.
        unit: The unit of its values: `per_s` or `s`.
        top: Its highest value; 0 without one.
        lines: Its lines.
    """

    id: str
    title: str
    unit: str
    top: float
    lines: list[Line]


#: The series of each chart: their names, and how a value is made of a slot.
_CHARTS: Final[dict[str, tuple[str, str, dict[str, Callable[[HistorySlot], float | None]]]]] = {
    "throughput": (
        "Throughput",
        "per_s",
        {"texts": lambda slot: slot.texts_per_s, "jobs": lambda slot: slot.jobs_per_s},
    ),
    "latency": (
        "Time from sending to outcome",
        "s",
        {"p50": lambda slot: slot.quantile_s(0.5), "p95": lambda slot: slot.quantile_s(0.95)},
    ),
}


def charts_of(slots: Sequence[HistorySlot]) -> list[Chart]:
    """Return the charts of slots that are over, the oldest first."""
    charts = []
    for chart_id, (title, unit, series) in _CHARTS.items():
        values = {name: [value(slot) for slot in slots] for name, value in series.items()}
        top = max((v for each in values.values() for v in each if v is not None), default=0.0)
        lines = [
            Line(name, next((v for v in reversed(each) if v is not None), None), _paths(each, top))
            for name, each in values.items()
        ]
        charts.append(Chart(chart_id, title, unit, top, lines))
    return charts


def series_of(slots: Sequence[HistorySlot]) -> dict[str, object]:
    """Return what the script of the page draws: times, and the values of each series."""
    return {
        "at_s": [slot.at_s for slot in slots],
        **{
            chart_id: {name: [value(slot) for slot in slots] for name, value in series.items()}
            for chart_id, (_, _, series) in _CHARTS.items()
        },
    }


def _paths(values: Sequence[float | None], top: float) -> list[str]:
    step = WIDTH / max(1, len(values) - 1)
    paths: list[list[str]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            paths.append([])
        else:
            y = HEIGHT - (HEIGHT - 8) * (value / top if top else 0)
            paths[-1].append(f"{n * step:.1f},{y:.1f}")
    # A point without neighbours is drawn as a short line.
    return [" ".join(path if len(path) > 1 else path * 2) for path in paths if path]
