"""Until when an outcome is of use to whoever asked for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from sentq.contract import DEADLINE_HEADER, ErrorCode, TextError
from sentq.errors import InvalidInput

__all__ = ["PASSED", "check_deadline", "has_passed"]

#: How each text of a job ends that came too late.
PASSED: Final = TextError(
    code=ErrorCode.DEADLINE_PASSED, message="the job's deadline passed before it was scored"
)


def check_deadline(headers: Mapping[str, Any]) -> None:
    """Refuse a deadline that is none.

    Raises:
        InvalidInput: It is not a finite number.
    """
    deadline_ms = headers.get(DEADLINE_HEADER)
    if deadline_ms is None or type(deadline_ms) is int:
        return
    if type(deadline_ms) is not float or not math.isfinite(deadline_ms):
        raise InvalidInput(f"the header {DEADLINE_HEADER} must be a number of milliseconds")


def has_passed(headers: Mapping[str, Any], now_ms: float) -> bool:
    """Whether the job with these headers, which were checked, has a deadline that has passed."""
    deadline_ms = headers.get(DEADLINE_HEADER)
    return deadline_ms is not None and deadline_ms <= now_ms
