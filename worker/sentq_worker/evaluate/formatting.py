"""How figures are written, on a terminal and in the report alike."""

from __future__ import annotations

from typing import Final

__all__ = ["MEASURE_NAMES", "percent"]

#: What the compared measures are called, by their keys.
MEASURE_NAMES: Final = {"accuracy": "accuracy", "polar_accuracy": "polar accuracy"}


def percent(share: float | None, *, signed: bool = False) -> str:
    """Write a share as per cent, and a missing share as a hyphen."""
    if share is None:
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"
