"""Two checkouts in one run: this one, and an older one that `--before FOLDER` names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from benchmarks.attacks.checkout import HERE, Checkout
from benchmarks.figures import argument_parser

__all__ = ["checkouts", "named", "parser_with_before"]


def parser_with_before(document: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options --json and --before."""
    parser = argument_parser(document)
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="an older checkout to measure as well"
    )
    return parser


def checkouts(options: argparse.Namespace) -> dict[str, Checkout]:
    """Return this checkout as `now`, and the older one as `before` if there is one."""
    older = {} if options.before is None else {"before": Checkout(options.before)}
    return {**older, "now": HERE}


def named(name: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures with the name of their checkout before each."""
    return {f"{name}_{figure}": value for figure, value in figures.items()}
