"""Which of several batches computes next, so that a long one keeps no short one waiting.

A batch is new until it has computed for a slice of time; then it is long.

    new batches     compute first, in the order in which they came
    long batches    compute otherwise, in turns of one slice

The long batches are owed the time that a new one takes, up to one slice, and get it back before the
next new one begins. So they get about half of the engine at least, and a new batch waits for one
slice at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Sliced", "TimeSlices"]


class Sliced(Protocol):
    """A batch that computes in steps.

    Attributes:
        computed_s: For how long it has computed.
        is_long: Whether that is at least one slice.
    """

    computed_s: float
    is_long: bool


S = TypeVar("S", bound=Sliced)


class TimeSlices(Generic[S]):
    """Chooses the batch of each step. One thread may use it.

    Args:
        slice_s: The length of a slice.
    """

    def __init__(self, *, slice_s: float) -> None:
        self._slice_s = slice_s
        self._owed_s = 0.0
        #: The long batch whose turn it is, and for how long it has computed in this turn.
        self._current: S | None = None
        self._turn_s = 0.0

    def choose(self, batches: Sequence[S]) -> S:
        """Return the batch that computes the next step.

        Args:
            batches: The batches that are not finished, at least one, in the order in which they
                came.
        """
        if len(batches) == 1:
            return batches[0]
        new = [batch for batch in batches if not batch.is_long]
        long = [batch for batch in batches if batch.is_long]
        # One that has begun goes on: a pause after each of its steps would take a step of a long
        # batch each time, which may be a hundred times as long.
        if new and (self._owed_s <= 0 or not long or new[0].computed_s > 0):
            return new[0]
        return self._next_long(long)

    def charge(self, batch: S, step_s: float, *, is_alone: bool) -> None:
        """Record that a batch has computed a step of so many seconds.

        Args:
            batch: The batch.
            step_s: How long the step took.
            is_alone: Whether there is no other batch.
        """
        if batch.is_long:
            self._owed_s = max(0.0, self._owed_s - step_s)
            self._turn_s += step_s
        elif not is_alone:
            self._owed_s = min(self._owed_s + step_s, self._slice_s)
        batch.computed_s += step_s
        batch.is_long = batch.computed_s >= self._slice_s

    def _next_long(self, batches: Sequence[S]) -> S:
        """Return the batch whose turn it is: the same one until its slice is over."""
        at = next((n for n, batch in enumerate(batches) if batch is self._current), -1)
        if at < 0 or self._turn_s >= self._slice_s:
            at = (at + 1) % len(batches)
            self._current, self._turn_s = batches[at], 0.0
        return batches[at]
