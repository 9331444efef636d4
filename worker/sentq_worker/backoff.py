"""The delays between retries."""

from __future__ import annotations

import random

__all__ = ["jittered_s"]


def jittered_s(attempt: int, *, least_s: float, most_s: float) -> float:
    """Return the delay after an attempt, in seconds.

    The delay doubles from `least_s` up to `most_s`. It is shortened by up to a half at random, so
    that not all workers retry at the same moment.

    Args:
        attempt: The number of the attempt, from 1.
    """
    # A delay of any length is reached long before 2**64.
    delay_s = min(most_s, least_s * 2.0 ** min(attempt - 1, 64))
    return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
