"""Writes the bundled model's card (README.md) out of its record, by card.md.jinja."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Mapping


def card(record: Mapping[str, Any]) -> str:
    """Return the card: prose by hand, figures from the record."""
    environment = Environment(  # noqa: S701 - Markdown, of our own words and figures
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(record=record)
