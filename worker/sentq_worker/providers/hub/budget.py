"""The budget of calls to the Hub: calls and characters a day and a month, exact across workers.

    sentq.hub.budget   hash   day, day_calls, day_chars, month, month_calls, month_chars

A call is reserved before it is made, so that all workers together make exactly as many calls as
permitted. A call that fails afterwards stays counted. Days and months are in UTC, by Redis' clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sentq.wire.lua import load_script
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.engine.counts import BudgetUse

if TYPE_CHECKING:
    import redis

__all__ = ["Budget", "BudgetLimits", "BudgetSpent"]

_KEY: Final = "sentq.hub.budget"

_RESERVE: Final = load_script("sentq_worker.providers", "reserve_call")

#: What is limited, in the order of `BudgetLimits` and of the script's reply.
_PARTS: Final = (("day", "calls"), ("day", "chars"), ("month", "calls"), ("month", "chars"))


class BudgetSpent(EngineUnavailable):
    """The budget is used up until the day or the month ends, after `retry_after_s` seconds."""


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Most calls and characters a day and a month; None for no limit."""

    calls_per_day: int | None = None
    chars_per_day: int | None = None
    calls_per_month: int | None = None
    chars_per_month: int | None = None

    @property
    def is_any(self) -> bool:
        """Whether any limit is set."""
        return any(limit is not None for limit in self.all)

    @property
    def arguments(self) -> list[int]:
        """The limits as the script takes them; -1 for no limit."""
        return [-1 if limit is None else limit for limit in self.all]

    @property
    def all(self) -> tuple[int | None, ...]:
        """The limits in the order of their fields."""
        return (
            *(self.calls_per_day, self.chars_per_day),
            *(self.calls_per_month, self.chars_per_month),
        )


@dataclass(frozen=True, slots=True)
class _Spent:
    """What all workers have reserved, as Redis said at `at_us` of its own clock.

    The ends of the day and of the month are times of the monotonic clock, in seconds.
    `refused_chars` are those of the call that was asked for, if it was refused; else 0.
    """

    at_us: int
    refused_chars: int
    day_ends_at: float
    month_ends_at: float
    amounts: tuple[int, ...]

    @property
    def now(self) -> tuple[int, ...]:
        """The amounts, without those of a day or a month that has ended."""
        now = time.monotonic()
        ends_at = (self.day_ends_at, self.day_ends_at, self.month_ends_at, self.month_ends_at)
        return tuple(
            amount if now < end_at else 0
            for amount, end_at in zip(self.amounts, ends_at, strict=True)
        )


class Budget:
    """Reserves calls in Redis. Many threads may use it.

    Args:
        connect: Returns a Redis client. It is called for each reservation, and may raise.
        limits: The limits of the budget.
        prefix: The configured prefix of all keys.
    """

    def __init__(
        self, connect: Callable[[], redis.Redis], limits: BudgetLimits, *, prefix: str = ""
    ) -> None:
        self._connect = connect
        self._limits = limits
        self._key = prefix + _KEY
        self._lock = threading.Lock()
        #: None before the first reservation.
        self._spent: _Spent | None = None

    @property
    def is_limited(self) -> bool:
        """Whether calls must be reserved."""
        return self._limits.is_any

    @property
    def uses(self) -> tuple[BudgetUse, ...]:
        """How much of each limit all workers had used when this one last reserved a call.

        Empty before its first reservation. Asks Redis nothing.
        """
        spent = self._spent
        if spent is None:
            return ()
        asked = {"calls": 1, "chars": max(1, spent.refused_chars)}
        at_s = spent.at_us / 1e6
        return tuple(
            BudgetUse(period, unit, used, limit, used + asked[unit] > limit, at_s)
            for (period, unit), used, limit in zip(_PARTS, spent.now, self._limits.all, strict=True)
            if limit is not None
        )

    def reserve(self, chars: int) -> None:
        """Reserve one call with a number of characters.

        Raises:
            BudgetSpent: The budget does not suffice for it.
            redis.RedisError: The call cannot be counted, so it must not be made.
        """
        arguments = [chars, *self._limits.arguments]
        wait_s, *spent = map(int, _RESERVE.run(self._connect(), [self._key], arguments))
        self._keep(chars if wait_s else 0, *spent)
        if wait_s:
            raise BudgetSpent("the budget of calls to the Hub is used up", retry_after_s=wait_s)

    def _keep(
        self, refused_chars: int, at_us: int, day_rest_s: int, month_rest_s: int, *amounts: int
    ) -> None:
        now = time.monotonic()
        with self._lock:
            # Replies to concurrent calls may arrive in another order.
            if self._spent is None or at_us >= self._spent.at_us:
                ends_at = now + day_rest_s, now + month_rest_s
                self._spent = _Spent(at_us, refused_chars, *ends_at, amounts)
