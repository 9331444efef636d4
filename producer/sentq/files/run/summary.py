"""What is said at the end of a run: a few lines, or one line of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from rich.console import Console

from sentq.files.run.tally import RunTally
from sentq.files.run.watch import ProgressKind, RunFigures

__all__ = ["summarise"]

_MEDIAN = 0.5
_P95 = 0.95


def summarise(
    tally: RunTally,
    figures: RunFigures,
    *,
    core_s: float,
    output: str,
    kind: ProgressKind,
    console: Console,
    say: Callable[[str], None],
) -> None:
    """Write the summary of a run.

    Args:
        tally: The counts of all rows.
        figures: The figures of this run.
        core_s: Core-seconds of this process.
        output: Where the rows are.
        kind: How the progress was shown.
        console: Where a line of JSON goes.
        say: Prints a line of text.
    """
    if kind is ProgressKind.JSON:
        fields = _fields(tally, figures, core_s=core_s, output=output)
        console.file.write(orjson.dumps(fields).decode() + "\n")
    elif kind is not ProgressKind.NONE:
        for line in _lines(tally, figures, core_s=core_s, output=output):
            say(line)


def _fields(tally: RunTally, figures: RunFigures, *, core_s: float, output: str) -> dict[str, Any]:
    return {
        "event": "summary",
        "output": output,
        "rows": tally.rows,
        "labels": dict(tally.labels),
        "errors": dict(tally.errors),
        "median_chars": tally.length_at(_MEDIAN),
        "p95_chars": tally.length_at(_P95),
        "seconds": round(figures.elapsed_s, 3),
        "rows_per_s": round(figures.rows_per_s, 1),
        "core_s": round(core_s, 3),
    }


def _lines(tally: RunTally, figures: RunFigures, *, core_s: float, output: str) -> list[str]:
    labels = ", ".join(f"{count:,} {label}" for label, count in tally.labels.most_common())
    errors = ", ".join(f"{count:,} {code}" for code, count in tally.errors.most_common())
    lines = [f"{tally.rows:,} rows in {output}: {labels or 'no label'}"]
    if errors:
        lines.append(f"{tally.failures:,} could not be scored: {errors}")
    lines.append(
        f"{figures.rows_per_s:,.0f} rows a second, {core_s:,.1f} core-seconds of this process"
    )
    median, p95 = tally.length_at(_MEDIAN), tally.length_at(_P95)
    if median is not None and p95 is not None:
        lines.append(f"half of the texts have up to {median:,} characters, 95% up to {p95:,}")
    return lines
