"""Computing in steps: a generator that pauses after each, so that other batches can compute.

A step is one model batch, or one slice of texts that are tokenised. Nothing is held across a pause
that another computation in the same thread could disturb.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

__all__ = ["Steps", "run_steps"]

T = TypeVar("T")

#: Computes one step at each `next`, and returns the result after the last one.
Steps: TypeAlias = Generator[None, None, T]


def run_steps(steps: Steps[T]) -> T:
    """Compute all steps without a pause; return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
