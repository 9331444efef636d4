"""How much the Hub may be asked: calls and characters a day and a month, exact across workers.

    sentq.hub.budget   hash   day, day_calls, day_chars, month, month_calls, month_chars

A call is reserved before it is made, so that any number of workers together make exactly as many
as permitted. One that fails on the way stays spent. Days and months are UTC's, by Redis' clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sentq_worker.engine.base import EngineUnavailable

if TYPE_CHECKING:
    import redis

__all__ = ["Budget", "BudgetLimits", "BudgetSpent"]

_KEY: Final = "sentq.hub.budget"

#: KEYS: the hash. ARGV: the characters of one call, then the limits: calls and characters a day,
#: calls and characters a month; -1 where there is none. Returns 0 and has counted the call, or the
#: seconds until the day or the month ends whose limit stands in the way.
#: The month is computed from the day as in Howard Hinnant's `civil_from_days`.
_RESERVE: Final = """
local now = tonumber(redis.call('TIME')[1])
local day = math.floor(now / 86400)
local z = day + 719468
local era = math.floor(z / 146097)
local doe = z - era * 146097
local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
  - math.floor(doe / 146096)) / 365)
local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
local mp = math.floor((5 * doy + 2) / 153)
local day_of_month = doy - math.floor((153 * mp + 2) / 5) + 1
local month_of_year = mp < 10 and mp + 3 or mp - 9
local year = yoe + era * 400 + (month_of_year <= 2 and 1 or 0)
local month = year * 12 + month_of_year
local lengths = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
if year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then lengths[2] = 29 end

local found = redis.call('HMGET', KEYS[1], 'day', 'day_calls', 'day_chars',
  'month', 'month_calls', 'month_chars')
for i = 1, 6 do found[i] = tonumber(found[i] or 0) end
if found[1] ~= day then found[2], found[3] = 0, 0 end
if found[4] ~= month then found[5], found[6] = 0, 0 end
local chars = tonumber(ARGV[1])
local spent = {found[2] + 1, found[3] + chars, found[5] + 1, found[6] + chars}
local wait = 0
for i = 1, 4 do
  local limit = tonumber(ARGV[i + 1])
  if limit >= 0 and spent[i] > limit then
    local rest = 86400 - now % 86400
    if i > 2 then rest = rest + 86400 * (lengths[month_of_year] - day_of_month) end
    wait = math.max(wait, rest)
  end
end
if wait == 0 then
  redis.call('HSET', KEYS[1], 'day', day, 'day_calls', spent[1], 'day_chars', spent[2],
    'month', month, 'month_calls', spent[3], 'month_chars', spent[4])
end
return wait
"""


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
        client: Any = self._connect()
        script = client.register_script(_RESERVE)
        wait_s = int(script(keys=[self._key], args=[chars, *self._limits.arguments]))
        if wait_s:
            raise BudgetSpent("the budget of calls to the Hub is spent", retry_after_s=wait_s)
