"""When a webhook is tried again, and for how long."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["retry_delay_s"]

_FIRST_S: Final = 5.0
_FACTOR: Final = 3.0
_MOST_S: Final = 4 * 60 * 60.0

#: So that receivers that were down are not called by all webhooks at the same moment.
_JITTER: Final = 0.2

#: The delay is the longest one long before so many attempts.
_MOST_STEPS: Final = 32


def retry_delay_s(attempt: int, *, asked_s: float | None = None) -> float:
    """Return the delay after an attempt, in seconds: 5 s, then three times as long each time, up to
    four hours, with a fifth of jitter. In a day that makes some 13 attempts.

    Args:
        attempt: The number of the attempt, from 1.
        asked_s: What `Retry-After` says, in seconds. The delay is at least that, up to four hours.
    """
    delay_s = min(_MOST_S, _FIRST_S * _FACTOR ** min(attempt - 1, _MOST_STEPS))
    delay_s *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
    return max(delay_s, min(asked_s or 0.0, _MOST_S))
