"""Pictures of the dashboard's panels, drawn from the data of a day: `make pictures`.

    python -m tests.support.monitoring.pictures RECORD FOLDER

RECORD is what tests/system/monitoring/test_day.py keeps. Each row of the dashboard becomes one PNG
in FOLDER. The pictures are for a look at the queries: Grafana draws panels in its own way. It needs
matplotlib.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.support.monitoring.observability import DASHBOARD, Panel, panels

__all__ = ["main"]

#: The width of Grafana's grid, and how large one of its cells is drawn, in inches.
_GRID: Final = 24
_CELL_INCHES: Final = (0.8, 0.42)

_COLUMNS: Final = ("instance", "model", "revision", "device", "dtype", "version")


@dataclass(frozen=True, slots=True)
class _Line:
    """A series of a panel: its legend, and its values by seconds since the day began."""

    legend: str
    values: list[tuple[float, float]]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The data of a day, by the titles of panels; steps by seconds since the day began."""

    lines: Mapping[str, list[_Line]]
    steps: list[tuple[str, float]]
    length_s: float


def _read(file: Path) -> _Recorded:
    content = json.loads(file.read_text(encoding="utf-8"))
    start_s = content["start_s"]
    lines: dict[str, list[_Line]] = {}
    for query in content["queries"]:
        for series in query["series"]:
            values = [(at_s - start_s, value) for at_s, value in series["values"]]
            legend = _legend(query["legend"], series["labels"])
            lines.setdefault(query["title"], []).append(_Line(legend, values, series["labels"]))
    steps = [(title, at_s - start_s) for title, at_s in content["steps"]]
    return _Recorded(lines, steps, content["end_s"] - start_s)


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda of: labels.get(of[1], ""), pattern).strip()


def _rows() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each row of the dashboard: its title, and its panels as Grafana stores them."""
    title = ""
    everything = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    for is_row, group in groupby(everything, key=lambda panel: panel["type"] == "row"):
        members = list(group)
        if is_row:
            title = members[-1]["title"]
        else:
            yield title, members


def _draw_row(title: str, members: Sequence[dict[str, Any]], day: _Recorded, file: Path) -> None:
    known = {panel.title: panel for panel in panels()}
    top = min(panel["gridPos"]["y"] for panel in members)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in members) - top
    width, cell = _GRID * _CELL_INCHES[0], _CELL_INCHES[1]
    figure = Figure(figsize=(width, height * cell + 0.4), dpi=80)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    for stored in members:
        place = stored["gridPos"]
        bottom = 1 - (place["y"] - top + place["h"]) / height
        # Names of states are long.
        left = 3.2 if stored["type"] == "state-timeline" else 1.1
        axes = figure.add_axes(
            (
                (place["x"] + left) / _GRID,
                (bottom + 0.9 / height) * 0.95,
                (place["w"] - left - 0.4) / _GRID,
                (place["h"] - 2.0) / height * 0.95,
            )
        )
        axes.set_title(stored["title"], fontsize=9, loc="left")
        _draw(axes, known[stored["title"]], day.lines.get(stored["title"], []), day)
    figure.savefig(file)


def _draw(axes: Axes, panel: Panel, lines: list[_Line], day: _Recorded) -> None:
    if panel.kind == "table":
        _draw_table(axes, lines)
        return
    axes.set_xlim(0, day.length_s)
    axes.tick_params(labelsize=7)
    for _, start_s in day.steps:
        axes.axvline(start_s, color="#dddddd", linewidth=0.6)
    if panel.kind == "state-timeline":
        _draw_states(axes, panel, lines)
        return
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _with_unit(value, panel.unit)))
    _draw_lines(axes, panel, lines)
    if panel.kind == "stat":
        last = lines[0].values[-1][1]
        text = panel.names.get(f"{last:g}") or _with_unit(last, panel.unit)
        axes.text(0.5, 0.5, text, fontsize=18, transform=axes.transAxes, ha="center")
    else:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6)


def _draw_lines(axes: Axes, panel: Panel, lines: Sequence[_Line]) -> None:
    seconds = range(int(max(at_s for line in lines for at_s, _ in line.values)) + 1)
    sampled = [_each_second(line, len(seconds)) for line in lines]
    if panel.is_stacked:
        known = [[0.0 if value is None else value for value in values] for values in sampled]
        axes.stackplot(seconds, known, labels=[line.legend for line in lines], alpha=0.7)
    else:
        for line, values in zip(lines, sampled, strict=True):
            shown = [float("nan") if value is None else value for value in values]
            style = "--" if line.legend.startswith("target") else "-"
            axes.plot(seconds, shown, style, label=line.legend, linewidth=1)
    axes.set_ylim(bottom=0)


def _draw_states(axes: Axes, panel: Panel, lines: Sequence[_Line]) -> None:
    colors = {0.0: "#2f9e44", 1.0: "#f08c00", 2.0: "#e8590c"} if len(panel.names) > 2 else {}
    if panel.names.get("1") == "up":
        colors = {1.0: "#2f9e44"}
    ordered = sorted(lines, key=lambda line: line.legend, reverse=True)
    for row, line in enumerate(ordered):
        for at_s, value in line.values:
            axes.barh(row, 1, left=at_s, height=0.7, color=colors.get(value, "#e03131"))
    axes.set_yticks(range(len(ordered)), [line.legend for line in ordered], fontsize=6)


def _draw_table(axes: Axes, lines: Sequence[_Line]) -> None:
    axes.axis("off")
    rows = [[line.labels.get(name, "")[:24] for name in _COLUMNS] for line in lines]
    axes.table(rows, colLabels=_COLUMNS, loc="upper center", fontsize=7)


def _each_second(line: _Line, length: int) -> list[float | None]:
    values: list[float | None] = [None] * length
    for at_s, value in line.values:
        values[int(at_s)] = value
    return values


def _with_unit(value: float, unit: str) -> str:
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "s" and value >= 120:
        return f"{value / 60:.3g} min"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    if unit == "percentunit":
        return f"{value:.0%}"
    return f"{value:.4g}" + {"s": " s", "ops": "/s"}.get(unit, "")


def main(record: str, folder: str) -> None:
    """Draw each row of the dashboard."""
    day = _read(Path(record))
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for number, (title, members) in enumerate(_rows(), start=1):
        name = re.sub(r"\W+", "-", title.lower()).strip("-")
        _draw_row(title, members, day, target / f"{number}-{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
