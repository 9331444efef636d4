"""Steps of the protocol: generators that yield what to do, and receive the reply or the error.

    steps ── a command, a `ScriptCall`, a `Pause`, … ──▶ driver
          ◀── reply, or the error thrown in ───────────

They do no input or output themselves. So the client that blocks and the one of asyncio run the
same steps, each with a driver of its own. What a driver throws in for an error of Redis, and which
Redis it uses, is its matter: that of the results, or of the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sentq.wire.clock import CLOCK

if TYPE_CHECKING:
    from sentq.wire.lua import Script

__all__ = [
    "Blocking",
    "Command",
    "Deadline",
    "Pause",
    "Request",
    "RoundTrip",
    "ScriptCall",
    "Steps",
    "run_steps",
]

T = TypeVar("T")

#: A command of Redis: its name and its arguments. The reply is that of redis-py.
Command: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Several commands in one round trip. The reply is the list of replies, in their order."""

    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A call of a script. The reply is that of the script.

    Attributes:
        script: The script.
        keys: The full names of its keys.
        arguments: As the header of the script says.
    """

    script: Script
    keys: Sequence[str | bytes]
    arguments: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of so many seconds. The reply is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Blocking:
    """A call of code that blocks, such as Celery's. The reply is what it returns."""

    call: Callable[[], Any]


#: What steps yield. A driver refuses what it does not know.
Request: TypeAlias = object
Steps: TypeAlias = Generator[Request, Any, T]


def run_steps(steps: Steps[T], perform: Callable[[Request], Any]) -> T:
    """Run steps to their end, and return what they return.

    Args:
        steps: The steps.
        perform: Does what is requested, and returns the reply. An exception is thrown into the
            steps.
    """
    try:
        request = next(steps)
        while True:
            try:
                reply = perform(request)
            except Exception as error:  # noqa: BLE001 - the steps decide
                request = steps.throw(error)
            else:
                request = steps.send(reply)
    except StopIteration as end:
        value: T = end.value
        return value


class Deadline:
    """A point in monotonic time, or never if the time-out is None."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else CLOCK.monotonic_s() + timeout_s

    @property
    def remaining_s(self) -> float:
        """How long it is until then, in seconds; 0 if it has passed."""
        return float("inf") if self._at is None else max(0.0, self._at - CLOCK.monotonic_s())

    @property
    def has_passed(self) -> bool:
        """Whether it has passed."""
        return self.remaining_s == 0.0
