"""The page of a report: one HTML file that loads nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import Final

from sentq.files.formats import MissingLibrary
from sentq.files.report.facts import ReportFacts, ReportGroup, ReportOptions
from sentq.version import VERSION

__all__ = ["page_of", "require_jinja"]

#: Most categories in the table, the largest first.
_SHOWN_CATEGORIES: Final = 25

#: The drawing of sentiment by time, in units of SVG.
_WIDTH: Final = 960
_HEIGHT: Final = 220


def require_jinja() -> None:
    """Check that Jinja is installed.

    Raises:
        MissingLibrary: It is not.
    """
    try:
        import jinja2  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f'{error.name} is not installed, and --report needs it: pip install "sentq[files]"'
        ) from error


def page_of(facts: ReportFacts, options: ReportOptions, *, title: str) -> str:
    """Return the report as HTML.

    Args:
        facts: What it shows.
        options: What the columns are called.
        title: The name of what was scored.
    """
    from jinja2 import Environment, StrictUndefined

    # Texts and names of columns are untrusted input: all values are escaped.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("sentq.files.report").joinpath("page.html.jinja")
    largest = sorted(facts.categories.items(), key=lambda each: -each[1].rows)
    rest = ReportGroup()
    for _, group in largest[_SHOWN_CATEGORIES:]:
        rest.merge(group)
    rest.merge(facts.other)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        facts=facts,
        options=options,
        title=title,
        labels=[label for label, _ in facts.all.labels.most_common()],
        categories=largest[:_SHOWN_CATEGORIES],
        rest=rest if rest.rows else None,
        periods=facts.periods,
        line=_line(facts.periods),
        width=_WIDTH,
        height=_HEIGHT,
        least_sure=[example for _, example in sorted(facts.least_sure, reverse=True)],
        version=VERSION,
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def _line(periods: list[tuple[str, ReportGroup]]) -> str:
    """Return the points of the mean sentiment by time, for a polyline of SVG."""
    points = []
    for place, (_, group) in enumerate(periods):
        if group.mean is not None:
            x = _WIDTH * (place + 0.5) / len(periods)
            y = _HEIGHT * (1 - group.mean) / 2
            points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)
