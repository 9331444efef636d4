"""Waiting for room where too much waits already: politely, and not for ever."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sentq.errors import Overloaded

__all__ = ["wait_for_capacity"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Pauses double from the first to the longest, unless the refusal says when to come back. Those
#: who are refused together must not come back together.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_JITTER: Final = (0.5, 1.5)


def wait_for_capacity(send: Callable[[], T], *, timeout_s: float | None) -> T:
    """Call `send`, again and again while there is no room, and return what it returns.

    Args:
        send: Raises `Overloaded` where nothing was accepted.
        timeout_s: How long to try; None for ever.

    Raises:
        Overloaded: There was no room in time.
    """
    started_s = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    has_said = False
    while True:
        try:
            return send()
        except Overloaded as error:
            jittered_s = random.uniform(*_JITTER) * min(  # noqa: S311 - no secret
                error.retry_after_s or pause_s, _LONGEST_PAUSE_S
            )
            waited_s = time.monotonic() - started_s
            if timeout_s is not None and waited_s + jittered_s > timeout_s:
                raise
            if not has_said:
                logger.warning("waiting for room: %s", error)
                has_said = True
        time.sleep(jittered_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
