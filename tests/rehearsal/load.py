"""The load of a web shop: how many jobs are sent in each second. All runs get the same one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["SHOP", "Phase", "sends"]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the load.

    Attributes:
        name: What happens.
        length_s: How long it takes.
        jobs_per_s: The mean rate at its start; jobs are independent of each other (Poisson).
        halved_each_s: After how many seconds the rate is half of it; without it, it stays.
    """

    name: str
    length_s: int
    jobs_per_s: float
    halved_each_s: float = math.inf


#: A review now and then; an import of 50,000; its after-effects, which fade; nothing.
SHOP: Final = (
    Phase("quiet", 345, 0.1),
    Phase("burst", 20, 2500),
    Phase("long tail", 360, 300, halved_each_s=45),
    Phase("nothing", 335, 0),
)


def sends(phases: Sequence[Phase], *, seed: int = 1) -> list[int]:
    """Return how many jobs are sent in each second."""
    chance = random.Random(seed)
    return [
        _poisson(chance, phase.jobs_per_s * 0.5 ** (second / phase.halved_each_s))
        for phase in phases
        for second in range(phase.length_s)
    ]


def _poisson(chance: random.Random, mean: float) -> int:
    """Return a number of independent events: those whose gaps fit into a second."""
    count, at = 0, chance.expovariate(mean) if mean else 1.0
    while at < 1:
        count += 1
        at += chance.expovariate(mean)
    return count
