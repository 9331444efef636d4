"""Which fault when: drawn from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["KILL_POINTS", "NETWORK", "FaultKind", "InjectedFault", "draw"]


class FaultKind(StrEnum):
    """What breaks."""

    KILL = "kill"  # kill -9 of a worker, at `detail`
    TERM = "term"  # SIGTERM of a worker
    REDIS = "redis"  # kill -9 of Redis, which starts again
    CUT = "cut"  # all connections of a worker or producer, in good order
    RESET = "reset"  # the same with RST
    HALF_OPEN = "half-open"  # they stay open and swallow; new ones work
    FREEZE = "freeze"  # the same, and new ones swallow too, for a while
    DELAY = "delay"  # all that passes is late, for a while
    TEAR = "tear"  # half of a request or of its reply passes, then the connection is cut


#: Faults between a process and Redis.
NETWORK: Final = (
    FaultKind.CUT,
    FaultKind.RESET,
    FaultKind.HALF_OPEN,
    FaultKind.FREEZE,
    FaultKind.DELAY,
    FaultKind.TEAR,
)

#: Where a worker is killed: now, as a round begins or is scored, or as bytes pass on the wire.
KILL_POINTS: Final = ("now", "before", "after", "take", "taken", "finish", "finished")

#: What is torn: what takes jobs and what ends them, on the way there and on the way back.
TORN: Final = ("take", "take-reply", "finish", "finish-reply")


@dataclass(frozen=True)
class InjectedFault:
    """Something that breaks `at_s` seconds after the start. `place` is the number of a worker,
    or, beyond these, of a producer."""

    at_s: float
    kind: FaultKind
    place: int = 0
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
    """Draw a schedule: as many faults of each kind, in any order, spread over the run."""
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
    # A fifth of the rest hits a producer.
    place = worker if chance.random() < 0.8 else workers + chance.randrange(producers)
    lasts_s = chance.uniform(1, 4) if kind in (FaultKind.FREEZE, FaultKind.DELAY) else 0.0
    return InjectedFault(at_s, kind, place, lasts_s=lasts_s)
