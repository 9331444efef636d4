"""The budget of calls to the Hub, which all workers of one Redis share, as they report it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from sentq.wire.reports import ReportedBudget, WorkerReport

__all__ = ["HubBudget", "hub_budgets"]

#: Periods and units, in the order in which they are shown. Those of a newer worker are left out.
_PARTS: Final = (("day", "calls"), ("day", "chars"), ("month", "calls"), ("month", "chars"))


class HubBudget(BaseModel):
    """One limit of the budget.

    Attributes:
        period: What the limit is for: a `day` or a `month`, in UTC.
        unit: What is limited: `calls` or `chars`, characters of texts.
        used: How many all workers together have used in this period.
        limit: How many they may use.
        remaining: How many are left.
        is_used_up: Whether nothing is left, or too little for the call that was asked for last.
        ends_at_s: When the period ends, and the next one begins with nothing used: Unix seconds.
    """

    model_config = ConfigDict(frozen=True)

    period: Literal["day", "month"]
    unit: Literal["calls", "chars"]
    used: int
    limit: int
    remaining: int
    is_used_up: bool
    ends_at_s: float


def hub_budgets(reports: Sequence[WorkerReport], now_s: float) -> tuple[HubBudget, ...]:
    """Return the limits that workers report. Workers whose settings differ have limits of their
    own.

    Args:
        reports: The reports of the live workers.
        now_s: Redis' time, in Unix seconds.
    """
    reported = sorted((each for one in reports for each in one.hub_budget), key=lambda e: e.at_s)
    newest = {(each.period, each.unit): each for each in reported}
    by_limit = {(each.period, each.unit, each.limit): each for each in reported}
    return tuple(
        _budget(by_limit[period, unit, limit], newest[period, unit].used, now_s)
        for period, unit in _PARTS
        for limit in sorted(limit for *part, limit in by_limit if part == [period, unit])
    )


def _budget(reported: ReportedBudget, used: int, now_s: float) -> HubBudget:
    remaining = max(0, reported.limit - used)
    return HubBudget.model_validate(
        {
            "period": reported.period,
            "unit": reported.unit,
            "used": used,
            "limit": reported.limit,
            "remaining": remaining,
            "is_used_up": reported.is_used_up or not remaining,
            "ends_at_s": _end_s(reported.period, now_s),
        }
    )


def _end_s(period: str, now_s: float) -> float:
    """Return when the day or the month ends that has this time, in Unix seconds."""
    day = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # The 28th and four days are in the next month, in each month of the year.
    next_day = day + timedelta(days=1)
    next_month = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (next_month if period == "month" else next_day).timestamp()
