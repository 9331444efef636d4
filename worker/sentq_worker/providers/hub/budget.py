"""The budget of calls to the Hub: calls and characters a day and a month, exact across workers.

    sentq.hub.budget   hash   day, day_calls, day_chars, month, month_calls, month_chars

A call is reserved before it is made, so that all workers together make exactly as many calls as
permitted. A call that fails afterwards stays counted. Days and months are in UTC, by Redis' clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sentq.wire.lua import load_script
from sentq_worker.engine.base import EngineUnavailable

if TYPE_CHECKING:
    import redis

__all__ = ["Budget", "BudgetLimits", "BudgetSpent"]

_KEY: Final = "sentq.hub.budget"

_RESERVE: Final = load_script("sentq_worker.providers", "reserve_call")


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
        return any(limit is not None for limit in self._all)

    @property
    def arguments(self) -> list[int]:
        """The limits as the script takes them; -1 for no limit."""
        return [-1 if limit is None else limit for limit in self._all]

    @property
    def _all(self) -> tuple[int | None, ...]:
        return (
            *(self.calls_per_day, self.chars_per_day),
            *(self.calls_per_month, self.chars_per_month),
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

    @property
    def is_limited(self) -> bool:
        """Whether calls must be reserved."""
        return self._limits.is_any

    def reserve(self, chars: int) -> None:
        """Reserve one call with a number of characters.

        Raises:
            BudgetSpent: The budget does not suffice for it.
            redis.RedisError: The call cannot be counted, so it must not be made.
        """
        wait_s = int(_RESERVE.run(self._connect(), [self._key], [chars, *self._limits.arguments]))
        if wait_s:
            raise BudgetSpent("the budget of calls to the Hub is used up", retry_after_s=wait_s)
