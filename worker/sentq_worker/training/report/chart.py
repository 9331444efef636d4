"""The chart of a training, training.svg: loss above, accuracy below.

Two curves over the same steps need no plotting library: matplotlib would be the largest
dependency of `train` after torch, and its output would be unreadable in a diff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["chart"]

Point = tuple[float, float]

_WIDTH, _HEIGHT, _LEFT, _GAP = 720, 200, 56, 44
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a", "#0a7ea4", "#cf6f9b")


@dataclass(frozen=True, slots=True)
class _Panel:
    """One pair of axes; maps points (step, value) to positions on the page."""

    top: int
    last_step: float
    low: float
    high: float

    def position(self, point: Point) -> str:
        step, value = point
        x = _LEFT + (_WIDTH - _LEFT) * step / self.last_step
        y = self.top + _HEIGHT * (self.high - value) / (self.high - self.low)
        return f"{x:.1f},{y:.1f}"

    def frame(self, title: str) -> list[str]:
        bottom = self.top + _HEIGHT
        inner = _WIDTH - _LEFT
        lines = [
            f'<rect x="{_LEFT}" y="{self.top}" width="{inner}" height="{_HEIGHT}" class="frame"/>',
            f'<text x="{_LEFT}" y="{self.top - 8}">{escape(title)}</text>',
            f'<text x="{_WIDTH}" y="{bottom + 16}" class="end">step {self.last_step:.0f}</text>',
        ]
        for value in (self.low, (self.low + self.high) / 2, self.high):
            y = self.position((0, value)).split(",")[1]
            lines.append(f'<text x="{_LEFT - 6}" y="{y}" class="end">{value:.2f}</text>')
        return lines


def chart(losses: Sequence[Point], accuracies: Mapping[str, Sequence[Point]]) -> str:
    """Return an SVG of points (step, value): the loss, and the accuracy on each file."""
    curves = [points for points in (losses, *accuracies.values()) if points]
    last_step = max((step for points in curves for step, _ in points), default=1) or 1
    upper = _Panel(30, last_step, 0.0, max((loss for _, loss in losses), default=1.0) or 1.0)
    values = [value for points in accuracies.values() for _, value in points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max((high - low) * 0.1, 0.01)
    lower = _Panel(upper.top + _HEIGHT + _GAP, last_step, low - margin, high + margin)
    parts = [
        *upper.frame("training loss"),
        *_curve(upper, losses, _COLOURS[0]),
        *lower.frame("validation accuracy"),
    ]
    legend_top = lower.top + _HEIGHT + 34
    for number, (name, points) in enumerate(accuracies.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        y = legend_top + 18 * number
        parts += _curve(lower, points, colour)
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 18}" y="{y}">{escape(name)}</text>')
    height = legend_top + 18 * len(accuracies)
    return "\n".join([_HEAD.format(width=_WIDTH + 16, height=height), *parts, "</svg>"]) + "\n"


def _curve(panel: _Panel, points: Sequence[Point], colour: str) -> list[str]:
    positions = [panel.position(point) for point in points]
    dots = [
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>'
        for x, y in (position.split(",") for position in positions)
        if len(positions) <= _MAX_DOTS
    ]
    return [f'<polyline points="{" ".join(positions)}" stroke="{colour}"/>', *dots]


#: A curve with more points is drawn without dots.
_MAX_DOTS = 20

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
text {{ font: 12px sans-serif; fill: #57606a; }} .end {{ text-anchor: end; }}
polyline {{ fill: none; stroke-width: 1.5; }} .frame {{ fill: none; stroke: #d0d7de; }}
</style>
<rect width="100%" height="100%" fill="white"/>"""
