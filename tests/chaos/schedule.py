"""Which fault when: drawn from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["KILL_POINTS", "NETWORK", "Fault", "Kind", "draw"]


class Kind(StrEnum):
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
NETWORK: Final = (Kind.CUT, Kind.RESET, Kind.HALF_OPEN, Kind.FREEZE, Kind.DELAY, Kind.TEAR)

#: Where a worker is killed: now, as a round begins or is scored, or as bytes pass on the wire.
KILL_POINTS: Final = ("now", "before", "after", "take", "taken", "finish", "finished")

#: What is torn: what takes jobs and what ends them, on the way there and on the way back.
TORN: Final = ("take", "take-reply", "finish", "finish-reply")


@dataclass(frozen=True)
class Fault:
    """Something that breaks `at_s` seconds after the start. `place` is the number of a worker,
    or, beyond these, of a producer."""

    at_s: float
    kind: Kind
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
) -> Sequence[Fault]:
    """Draw a schedule: as many faults of each kind, in any order, spread over the run."""
    chance = random.Random(seed)
    kinds = [Kind.KILL] * kills + [Kind.TERM] * terms + [Kind.REDIS] * redis_kills
    kinds += [NETWORK[n % len(NETWORK)] for n in range(network_faults)]
    chance.shuffle(kinds)
    step_s = duration_s / max(1, len(kinds))
    return [
        _fault(chance, kind, (number + chance.random()) * step_s, workers, producers)
        for number, kind in enumerate(kinds)
    ]


def _fault(chance: random.Random, kind: Kind, at_s: float, workers: int, producers: int) -> Fault:
    worker = chance.randrange(workers)
    if kind is Kind.KILL:
        return Fault(at_s, kind, worker, chance.choice(KILL_POINTS))
    if kind is Kind.TEAR:
        return Fault(at_s, kind, worker, chance.choice(TORN))
    if kind in (Kind.TERM, Kind.REDIS):
        return Fault(at_s, kind, worker)
    # A fifth of the rest hits a producer.
    place = worker if chance.random() < 0.8 else workers + chance.randrange(producers)
    lasts_s = chance.uniform(1, 4) if kind in (Kind.FREEZE, Kind.DELAY) else 0.0
    return Fault(at_s, kind, place, lasts_s=lasts_s)
