"""Wait for free capacity in a full queue, with backoff and a time-out."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final, TypeVar

from sentq.errors import Overloaded
from sentq.wire.clock import CLOCK
from sentq.wire.steps import Pause, Steps

__all__ = ["capacity_steps"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Pauses double from the first to the longest, or to what the error says. The jitter keeps clients
#: that were rejected together from retrying together.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_JITTER: Final = (0.5, 1.5)


def capacity_steps(send: Callable[[], Steps[T]], *, timeout_s: float | None) -> Steps[T]:
    """Send until that succeeds, and return what the steps of sending return.

    Args:
        send: Makes the steps of sending. They raise `Overloaded` if nothing was accepted.
        timeout_s: How long to try, in seconds; None for no limit.

    Raises:
        Overloaded: There was no capacity within `timeout_s`.
    """
    started_s = CLOCK.monotonic_s()
    pause_s = _FIRST_PAUSE_S
    has_warned = False
    while True:
        try:
            return (yield from send())
        except Overloaded as error:
            jittered_s = random.uniform(*_JITTER) * min(  # noqa: S311 - no secret
                error.retry_after_s, pause_s
            )
            waited_s = CLOCK.monotonic_s() - started_s
            if timeout_s is not None and waited_s + jittered_s > timeout_s:
                raise
            if not has_warned:
                logger.warning("waiting for capacity: %s", error)
                has_warned = True
        yield Pause(jittered_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
