"""How long to wait before something is tried again."""

from __future__ import annotations

import random

__all__ = ["jittered_s"]


def jittered_s(attempt: int, *, least_s: float, most_s: float) -> float:
    """The delay after the given attempt, counted from 1: it doubles from `least_s` up to
    `most_s`, and is shortened by up to a half at random, so that not all workers try again at
    the same moment."""
    # A delay of any length is reached long before 2**64.
    delay_s = min(most_s, least_s * 2.0 ** min(attempt - 1, 64))
    return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - nobody gains by guessing it
