"""Which jobs are worth another try, and when.

What may pass is tried again: memory that was short at the moment. Bad input, and a model that
fails on a text, stay what they are, and are answered at once. An engine that is away is another
matter: all jobs wait for it, and it costs none of them a try.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sentq.contract import ErrorCode
from sentq_worker.backoff import jittered_s
from sentq_worker.engine.base import EngineUnavailable

__all__ = ["retry_after_s", "unavailable_s"]

#: Endings of texts that may be others in a while.
_MAY_PASS: Final = frozenset({ErrorCode.RESOURCE_EXHAUSTED})

_MOST_ROUNDS: Final = 3
_LEAST_S: Final = 1.0
_SOONEST_S: Final = 0.1
_MOST_S: Final = 8.0


def retry_after_s(outcome: Mapping[str, Any], rounds: int) -> float | None:
    """In how many seconds a job goes into another round; None where it is answered.

    Args:
        outcome: What its `JobOutcome` would hold.
        rounds: How many rounds it was in that ended, this one included.
    """
    if rounds >= _MOST_ROUNDS:
        return None
    for text in outcome["outcomes"]:
        if "code" in text and text["code"] in _MAY_PASS:
            return jittered_s(rounds, least_s=_LEAST_S, most_s=_MOST_S)
    return None


def unavailable_s(error: EngineUnavailable, tries: int) -> float:
    """In how many seconds a job goes into another round whose engine was away, while others were
    answered.

    Args:
        error: Says how long, where it can tell; it may change its mind sooner than in hours.
        tries: How many rounds the job was in.
    """
    if error.retry_after_s is not None:
        return min(max(error.retry_after_s, _SOONEST_S), _MOST_S)
    return jittered_s(tries, least_s=_LEAST_S, most_s=_MOST_S)
