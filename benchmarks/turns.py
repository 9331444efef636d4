"""Time several ways to do the same work, by turns.

Ways take turns, so that other work of the machine slows down all of them alike. Figures are medians
over the turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = ["take_turns", "timed"]

_Result = TypeVar("_Result")


def take_turns(
    ways: Mapping[str, Callable[[Sequence[str]], _Result]],
    texts: Sequence[str],
    *,
    repeats: int,
    warm_up_texts: int,
) -> tuple[dict[str, float], dict[str, _Result]]:
    """Return the median texts per second of each way, and its result."""
    for way in ways.values():
        way(texts[:warm_up_texts])
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, _Result] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            time_s, results[name] = timed(way, texts)
            times_s[name].append(time_s)
    return {name: len(texts) / statistics.median(each) for name, each in times_s.items()}, results


def timed(way: Callable[[Sequence[str]], _Result], texts: Sequence[str]) -> tuple[float, _Result]:
    """Return the time in seconds that a way takes for the texts, and its result."""
    started = time.perf_counter()
    result = way(texts)
    return time.perf_counter() - started, result
