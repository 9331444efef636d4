"""Write the card (README.md) of a model from its record, by a template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Mapping


#: The card of the bundled model.
BUNDLED = Path(__file__).with_name("card.md.jinja")


def card(record: Mapping[str, Any], template: Path = BUNDLED) -> str:
    """Return the card: the text is in the template, the figures are in the record."""
    environment = Environment(  # noqa: S701 - Markdown, from trusted text and figures
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        record=record, most_seen=lambda name: _most_seen(record, name)
    )


def _most_seen(record: Mapping[str, Any], name: str) -> int:
    """Return how many rows of this file the data of a training contain, at most."""
    seen: list[dict[str, int]]
    seen = [run["validation_rows_seen_in_training"] for run in record["trainings"]]
    return max(one.get(name, 0) for one in seen)
