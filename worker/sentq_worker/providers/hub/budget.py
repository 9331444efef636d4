"""How much the Hub may be asked: calls and characters a day and a month, exact across workers.

    sentq.hub.budget   hash   day, day_calls, day_chars, month, month_calls, month_chars

A call is reserved before it is made, so that any number of workers together make exactly as many
as permitted. One that fails on the way stays spent. Days and months are UTC's, by Redis' clock.
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
    """No call may be made before the day or the month ends, in `retry_after_s`."""


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What may be spent; None where there is no limit."""

    calls_per_day: int | None = None
    chars_per_day: int | None = None
    calls_per_month: int | None = None
    chars_per_month: int | None = None

    @property
    def is_any(self) -> bool:
        """Whether there is a limit at all."""
        return any(limit is not None for limit in self._all)

    @property
    def arguments(self) -> list[int]:
        """As the script takes them."""
        return [-1 if limit is None else limit for limit in self._all]

    @property
    def _all(self) -> tuple[int | None, ...]:
        return (
            *(self.calls_per_day, self.chars_per_day),
            *(self.calls_per_month, self.chars_per_month),
        )


class Budget:
    """Reserves calls in Redis. May be used by many threads.

    Args:
        connect: Gives a Redis client; called for each reservation, and it may fail.
        limits: What may be spent.
        prefix: Of all keys, where one is configured.
    """

    def __init__(
        self, connect: Callable[[], redis.Redis], limits: BudgetLimits, *, prefix: str = ""
    ) -> None:
        self._connect = connect
        self._limits = limits
        self._key = prefix + _KEY

    @property
    def is_limited(self) -> bool:
        """Whether calls need to be reserved."""
        return self._limits.is_any

    def reserve(self, chars: int) -> None:
        """Reserve one call with so many characters.

        Raises:
            BudgetSpent: It may not be made.
            redis.RedisError: Nobody knows whether it may be made, so it must not.
        """
        wait_s = int(_RESERVE.run(self._connect(), [self._key], [chars, *self._limits.arguments]))
        if wait_s:
            raise BudgetSpent("the budget of calls to the Hub is spent", retry_after_s=wait_s)
