"""The history as it is read: one slot after the other, those without a job included."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sentq.wire.history.slots import HISTORY_S, SLOT_S, TEXTS_FIELD, slot_key, slot_of
from sentq.wire.steps import RoundTrip, Steps

__all__ = ["HistorySlot", "history_steps"]

#: Slots of one round trip.
_PAGE_SLOTS: Final = 60


@dataclass(frozen=True, slots=True)
class HistorySlot:
    """What all workers completed in a slot.

    Attributes:
        at_s: When the slot begins, in Unix seconds by Redis' clock.
        texts: How many texts have an outcome.
        jobs: How many jobs ended, by how: `done`, `failed`, `cancelled`.
        done_jobs: How many jobs are done, by queue.
        seconds: How many jobs took how long from sending to the stored outcome: two bounds in
            seconds, and how many jobs took longer than the one and at most as long as the other.
            Jobs whose id does not tell when they were sent are left out.
    """

    at_s: float
    texts: int = 0
    jobs: Mapping[str, int] = field(default_factory=dict)
    done_jobs: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[tuple[float, float], int] = field(default_factory=dict)

    @property
    def jobs_per_s(self) -> float:
        """How many jobs ended a second."""
        return sum(self.jobs.values()) / SLOT_S

    @property
    def texts_per_s(self) -> float:
        """How many texts got an outcome a second."""
        return self.texts / SLOT_S

    def quantile_s(self, share: float) -> float | None:
        """Return an estimate of the time within which this share of the jobs was done, in seconds:
        between the bounds of a bucket, jobs are taken to be spread evenly.

        Without a job it is None. Beyond the largest bound it is that bound.
        """
        wanted = share * sum(self.seconds.values())
        for (above_s, upto_s), count in sorted(self.seconds.items()):
            if wanted <= count:
                width_s = 0.0 if math.isinf(upto_s) else upto_s - above_s
                return above_s + width_s * wanted / count
            wanted -= count
        return None


def history_steps(prefix: str = "") -> Steps[list[HistorySlot]]:
    """Return the slots of the last hour, the oldest first. The last one is not over yet.

    Args:
        prefix: The configured prefix of all keys.
    """
    seconds, _ = yield ("TIME",)
    last = slot_of(int(seconds))
    slots = range(last - HISTORY_S // SLOT_S + 1, last + 1)
    found: list[HistorySlot] = []
    for first in range(0, len(slots), _PAGE_SLOTS):
        page = slots[first : first + _PAGE_SLOTS]
        replies = yield RoundTrip([("HGETALL", slot_key(slot, prefix)) for slot in page])
        found += [_slot(slot, raw) for slot, raw in zip(page, replies, strict=True)]
    return found


def _slot(slot: int, raw: Mapping[bytes, bytes]) -> HistorySlot:
    """Return what a hash holds. Fields that another version has written are left out."""
    jobs: Counter[str] = Counter()
    done_jobs: Counter[str] = Counter()
    seconds: Counter[tuple[float, float]] = Counter()
    texts = 0
    for name, value in raw.items():
        match name.decode(errors="replace").split(":", 3):
            case [field_name] if field_name == TEXTS_FIELD:
                texts = int(value)
            case ["jobs", end, *queue]:
                jobs[end] += int(value)
                if end == "done":
                    done_jobs[":".join(queue)] += int(value)
            case ["seconds", above, upto, _]:
                seconds[float(above), float(upto)] += int(value)
    return HistorySlot(slot * SLOT_S, texts, jobs, done_jobs, seconds)
