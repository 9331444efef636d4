"""The plots of the report: reliability, confusion, accuracy by file, behaviour by capability."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sentq_worker.evaluate.drawing import Drawing
from sentq_worker.evaluate.formatting import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from sentq_worker.evaluate.behaviour import Tally
    from sentq_worker.evaluate.calibration import Calibration
    from sentq_worker.evaluate.measures import Measures

__all__ = ["accuracies_plot", "behaviour_plot", "confusion_plot", "reliability_plot"]

#: Style classes of the first and the second model.
_MODELS = ("first", "second")

#: A cell with a larger share is dark, and needs light text.
_DARK = 0.55


def reliability_plot(calibrations: Sequence[Calibration]) -> Markup:
    """Draw accuracy by score, above the number of texts by score; one line per model."""
    left, top, side, gap, below = 44.0, 10.0, 250.0, 14.0, 54.0
    bottom = top + side
    floor = bottom + gap + below
    drawing = Drawing(left + side + 12, floor + 38, title="Reliability: accuracy by score")

    def place(score: float, share: float) -> tuple[float, float]:
        return left + side * score, bottom - side * share

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line(place(0, tick), place(1, tick), "grid")
        drawing.text((left - 8, bottom - side * tick + 4), f"{tick:g}", "tick end")
        drawing.line((left + side * tick, floor), (left + side * tick, floor + 4), "axis")
        drawing.text((left + side * tick, floor + 17), f"{tick:g}", "tick middle")
    drawing.line(place(0, 0), place(1, 1), "ideal")
    drawing.text(place(0.03, 0.94), "underconfident", "note")
    drawing.text(place(0.97, 0.04), "overconfident", "note end")
    most = max(
        (one.rows / _rows(calibration) for calibration in calibrations for one in calibration.bins),
    )
    for number, (style, calibration) in enumerate(zip(_MODELS, calibrations, strict=False)):
        points = [place(one.mean_score, one.accuracy) for one in calibration.bins]
        drawing.path(points, f"curve {style}")
        for one, point in zip(calibration.bins, points, strict=True):
            share = one.rows / _rows(calibration)
            hint = (
                f"{one.rows:,} texts with a score around {one.mean_score:.2f}: "
                f"{percent(one.accuracy)}% right"
            )
            drawing.dot(point, 2.5 + 6 * math.sqrt(share), f"mark {style}", hint=hint)
            width = side * (one.high - one.low) / len(calibrations)
            height = below * share / most
            corner = (left + side * one.low + number * width + 0.5, floor - height)
            drawing.box(corner, (width - 1, height), f"fill {style}", hint=hint)
    drawing.line((left, floor), (left + side, floor), "axis")
    drawing.text((left - 8, floor - below + 10), "texts", "tick end")
    drawing.text((left + side / 2, floor + 34), "score of the most likely label", "tick middle")
    return drawing.markup()


def confusion_plot(measures: Measures, style: str) -> Markup:
    """Draw the confusion matrix; a darker cell has a larger share of its row."""
    names = [one.label for one in measures.labels]
    left, top = 12 + 7.2 * max(map(len, names)), 44.0
    cell, height = 84.0, 56.0
    drawing = Drawing(
        left + cell * len(names) + 4, top + height * len(names) + 4, title="Confusion of labels"
    )
    drawing.text((left + cell * len(names) / 2, 12), "predicted", "tick middle")
    for column, name in enumerate(names):
        drawing.text((left + cell * (column + 0.5), top - 10), name, "label middle")
    for number, (name, row) in enumerate(zip(names, measures.confusion, strict=True)):
        y = top + height * number
        drawing.text((left - 10, y + height / 2 + 4), name, "label end")
        for column, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            x = left + cell * column
            drawing.box((x + 1, y + 1), (cell - 2, height - 2), "fill empty")
            drawing.box(
                (x + 1, y + 1), (cell - 2, height - 2), f"fill {style}", opacity=share,
                hint=f"{count:,} of {sum(row):,} {name} rows were predicted as {names[column]}",
            )  # fmt: skip
            if not sum(row):
                continue
            tone = "on-dark" if share > _DARK else "on-light"
            middle = x + cell / 2
            drawing.text((middle, y + height / 2), f"{percent(share)}%", f"cell {tone}")
            drawing.text((middle, y + height / 2 + 16), f"{count:,}", f"count {tone}")
    return drawing.markup()


def accuracies_plot(files: Mapping[str, Sequence[Measures]]) -> Markup:
    """Draw the accuracy of each file with its 95% interval; one dot per model."""
    every = [one for measures in files.values() for one in measures]
    low = math.floor(10 * min(one.interval[0] for one in every)) / 10
    high = math.ceil(10 * max(one.interval[1] for one in every)) / 10
    left, width, row = 12 + 6.9 * max(map(len, files)), 470.0, 18.0 + 16 * len(every) / len(files)
    drawing = Drawing(left + width + 58, 34 + row * len(files), title="Accuracy by file")

    def x_of(share: float) -> float:
        return left + width * (share - low) / (high - low)

    bottom = 6 + row * len(files)
    for tick in range(round(10 * low), round(10 * high) + 1):
        x = x_of(tick / 10)
        drawing.line((x, 6), (x, bottom), "grid")
        drawing.text((x, bottom + 18), f"{10 * tick}%", "tick middle")
    for number, (name, measures) in enumerate(files.items()):
        middle = 6 + row * (number + 0.5)
        drawing.text((left - 10, middle + 4), name, "label end")
        for at, (style, one) in enumerate(zip(_MODELS, measures, strict=False)):
            y = middle + 16 * (at - (len(measures) - 1) / 2)
            share = one.figures.accuracy
            low_end, high_end = (x_of(end) for end in one.interval)
            drawing.line((low_end, y), (high_end, y), f"whisker {style}")
            drawing.dot((x_of(share), y), 4.5, f"mark {style}")
            drawing.text((high_end + 8, y + 4), percent(share), "value")
    return drawing.markup()


def behaviour_plot(capabilities: Mapping[str, Sequence[Tally | None]]) -> Markup:
    """Draw the share of passed cases by capability, the lowest first; one bar per model."""
    names = sorted(capabilities, key=lambda name: _first_share(capabilities[name]))
    models = len(capabilities[names[0]])
    left, width = 12 + 6.9 * max(map(len, names)), 560.0
    bar = 14.0 if models == 1 else 10.0
    row = bar * models + 12
    right = left + width
    drawing = Drawing(right + 128, 6 + row * len(names), title="Cases passed by capability")
    for number, name in enumerate(names):
        top = 4 + row * number
        drawing.text((left - 10, top + bar * models / 2 + 4), name, "label end")
        for at, (style, one) in enumerate(zip(_MODELS, capabilities[name], strict=False)):
            y = top + at * bar
            drawing.box((left, y), (width, bar - 1), "fill empty")
            if one is None:
                continue
            drawing.box((left, y), (width * one.share, bar - 1), f"fill {style}")
            drawing.text((right + 54, y + bar - 2), f"{percent(one.share)}%", "value end")
            drawing.text((right + 66, y + bar - 2), f"{one.passed} of {one.cases}", "tick")
    return drawing.markup()


def _first_share(tallies: Sequence[Tally | None]) -> float:
    return next(tally.share for tally in tallies if tally is not None)


def _rows(calibration: Calibration) -> int:
    return sum(one.rows for one in calibration.bins)
