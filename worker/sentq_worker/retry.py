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

__all__ = ["retry_after_s"]

#: Endings of texts that may be others in a while.
_MAY_PASS: Final = frozenset({ErrorCode.RESOURCE_EXHAUSTED})

_MOST_ROUNDS: Final = 3
_LEAST_S: Final = 1.0
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
