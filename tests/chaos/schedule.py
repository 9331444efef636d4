"""The faults of a run and their times, drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["KILL_POINTS", "NETWORK", "FaultKind", "InjectedFault", "draw"]


class FaultKind(StrEnum):
    """The kinds of faults."""

    KILL = "kill"  # kill -9 of a worker, at `detail`
    TERM = "term"  # SIGTERM of a worker
    REDIS = "redis"  # kill -9 of Redis, which starts again
    CUT = "cut"  # all connections of a worker or producer, closed with FIN
    RESET = "reset"  # the same, closed with RST
    HALF_OPEN = "half-open"  # they stay open and discard all data; new ones work
    FREEZE = "freeze"  # the same, and new ones discard data too, for a while
    DELAY = "delay"  # all data is delayed, for a while
    TEAR = "tear"  # half of a request or of its reply is forwarded, then the connection is cut


#: Faults between a process and Redis.
NETWORK: Final = (
    FaultKind.CUT,
    FaultKind.RESET,
    FaultKind.HALF_OPEN,
    FaultKind.FREEZE,
    FaultKind.DELAY,
    FaultKind.TEAR,
)

#: Where a worker is killed: now, before or after a batch is scored, or at bytes on the wire.
KILL_POINTS: Final = ("now", "before", "after", "take", "taken", "finish", "finished")

#: What is torn: the request that takes jobs, the one that finishes them, and their replies.
TORN: Final = ("take", "take-reply", "finish", "finish-reply")


@dataclass(frozen=True)
class InjectedFault:
    """A fault `at_s` seconds after the start.

    `target` is the number of a worker, or, beyond these, of a producer.
    """

    at_s: float
    kind: FaultKind
    target: int = 0
    detail: str = ""
    lasts_s: float = 0.0


def draw(
    seed: int,
    *,
    duration_s: float,
    workers: int,
    producers: int,
    kills: int,
    terms: int,
    redis_kills: int,
    network_faults: int,
) -> Sequence[InjectedFault]:
    """Draw a schedule with these numbers of faults, in random order, spread over the run."""
    chance = random.Random(seed)
    kinds = [FaultKind.KILL] * kills + [FaultKind.TERM] * terms + [FaultKind.REDIS] * redis_kills
    kinds += [NETWORK[n % len(NETWORK)] for n in range(network_faults)]
    chance.shuffle(kinds)
    step_s = duration_s / max(1, len(kinds))
    return [
        _fault(chance, kind, (number + chance.random()) * step_s, workers, producers)
        for number, kind in enumerate(kinds)
    ]


def _fault(
    chance: random.Random, kind: FaultKind, at_s: float, workers: int, producers: int
) -> InjectedFault:
    worker = chance.randrange(workers)
    if kind is FaultKind.KILL:
        return InjectedFault(at_s, kind, worker, chance.choice(KILL_POINTS))
    if kind is FaultKind.TEAR:
        return InjectedFault(at_s, kind, worker, chance.choice(TORN))
    if kind in (FaultKind.TERM, FaultKind.REDIS):
        return InjectedFault(at_s, kind, worker)
    # A fifth of the other faults have a producer as target.
    target = worker if chance.random() < 0.8 else workers + chance.randrange(producers)
    lasts_s = chance.uniform(1, 4) if kind in (FaultKind.FREEZE, FaultKind.DELAY) else 0.0
    return InjectedFault(at_s, kind, target, lasts_s=lasts_s)
