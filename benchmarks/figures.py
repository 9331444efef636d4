"""The command line and the output that the benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

__all__ = ["argument_parser", "max_abs_diff", "show"]


def argument_parser(document: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option --json, described by the first line of a docstring."""
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def show(figures: Mapping[str, object], *, as_json: bool) -> None:
    """Print figures: one per line, or one JSON object."""
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        text = f"{value:,}" if isinstance(value, int | float) else str(value)
        print(f"{name:<28}{text:>16}")


def max_abs_diff(scores: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> float:
    """Return the largest difference of two scores; both are (texts, labels)."""
    pairs = zip(scores, expected, strict=True)
    return max(abs(a - b) for row, other in pairs for a, b in zip(row, other, strict=True))
