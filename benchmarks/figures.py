"""Figures of a benchmark, as its user wants them printed."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["show"]


def show(figures: Mapping[str, float], *, as_json: bool) -> None:
    """Print figures: a line each, or one JSON object."""
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<24}{value:>12,}")
