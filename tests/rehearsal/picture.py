"""A picture of a rehearsal: workers, backlog and the oldest job over time, for each way to scale.

`python -m tests.rehearsal.picture RECORD FILE` draws what `benchmarks.lifecycle.rehearsal --record`
has kept, as PNG. It needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["main"]

#: Seconds between the points that are drawn.
_EVERY: Final = 8

_ROWS: Final = (
    ("workers", "replicas", "#1c7ed6"),
    ("jobs without an outcome", "backlog_jobs", "#e8590c"),
    ("oldest job, s", "oldest_s", "#7048e8"),
)


def main(record: str, file: str) -> None:
    """Draw a record."""
    runs = json.loads(Path(record).read_text(encoding="utf-8"))
    target_s = runs.pop("target_s")
    figure = Figure(figsize=(11, 6), layout="constrained")
    grid = figure.subplots(len(_ROWS), len(runs), sharex=True, sharey="row", squeeze=False)
    for column, (name, run) in enumerate(runs.items()):
        grid[0][column].set_title(name, fontsize=10)
        grid[-1][column].set_xlabel("minutes", fontsize=8)
        for axes, (label, field, color) in zip(grid[:, column], _ROWS, strict=True):
            _draw(axes, run["samples"], field, color)
            if not column:
                axes.set_ylabel(label, fontsize=8)
        grid[1][column].set_yscale("symlog", linthresh=10)
        grid[2][column].axhline(target_s, color="#868e96", linestyle="--", linewidth=0.8)
    figure.savefig(file, dpi=80)


def _draw(axes: Axes, samples: list[dict[str, Any]], field: str, color: str) -> None:
    # The highest of each few seconds: a short peak must not vanish.
    groups = [samples[first : first + _EVERY] for first in range(0, len(samples), _EVERY)]
    minutes = [group[0]["at_s"] / 60 for group in groups]
    highest = [max(sample[field] for sample in group) for group in groups]
    axes.step(minutes, highest, where="post", color=color, linewidth=1)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e9ecef", linewidth=0.5)
    axes.set_ylim(bottom=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
