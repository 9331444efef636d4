"""The HTML report: one self-contained file that loads no other resources."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

from sentq import __version__
from sentq_worker.evaluate.formatting import MEASURE_NAMES, percent
from sentq_worker.evaluate.results import AVERAGED
from sentq_worker.training.extra import training_extra

if TYPE_CHECKING:
    from sentq_worker.evaluate.results import Evaluation

__all__ = ["page_of"]


def page_of(evaluation: Evaluation) -> str:
    """Return the report as HTML. It contains texts of the data only if the mistakes do.

    Raises:
        MissingExtra: A library of the extra `training` is not installed.
    """
    with training_extra():
        from jinja2 import Environment, StrictUndefined

        from sentq_worker.evaluate import plots
    # Texts and file names are untrusted input: all values are escaped.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    template = resources.files("sentq_worker.evaluate").joinpath("page.html.jinja")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        evaluation=evaluation,
        averages=evaluation.averages if evaluation.files else [],
        averaged=AVERAGED,
        measure_names=MEASURE_NAMES,
        plots=plots,
        styles=("first", "second"),
        version=__version__,
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
