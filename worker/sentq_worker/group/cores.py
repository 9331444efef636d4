"""The cores that this process may use, and groups of them for several processes.

A process may be bound to some cores, by `taskset` or a cpuset. A control group may also grant less
time than these cores have: the limit of a container. The cores are then shared with other
containers, and it is not known which ones are free.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sentq_worker.control_groups import control_groups

__all__ = ["UsableCores", "core_groups", "read_usable_cores"]


@dataclass(frozen=True, slots=True)
class UsableCores:
    """The cores that this process may use.

    Attributes:
        cores: The numbers of the cores; those of one physical core are together, and physical cores
            of one socket follow each other.
        quota: For how many cores the control group grants time; None without a limit.
        can_pin: Whether the system lets a process choose its cores.
    """

    cores: tuple[tuple[int, ...], ...]
    quota: float | None = None
    can_pin: bool = True

    @property
    def is_limited(self) -> bool:
        """Whether the quota grants less than the cores have."""
        return self.quota is not None and self.quota < sum(map(len, self.cores))

    @property
    def whole_cores(self) -> int:
        """How many threads that compute can run at once: at least 1."""
        physical = len(self.cores)
        return physical if self.quota is None else max(1, min(physical, int(self.quota)))


def core_groups(cores: Sequence[tuple[int, ...]], count: int) -> list[tuple[tuple[int, ...], ...]]:
    """Divide physical cores among processes: neighbours together, sizes that differ by one at most.

    With more processes than physical cores, the logical ones are divided. With more than these,
    there are fewer groups than processes.

    Args:
        cores: As `UsableCores.cores`.
        count: The number of processes.
    """
    units = list(cores)
    if count > len(units):
        units = [(core,) for unit in units for core in unit]
    count = min(count, len(units))
    bounds = [len(units) * number // count for number in range(count + 1)]
    return [tuple(units[a:b]) for a, b in pairwise(bounds)]


def read_usable_cores(root: Path = Path("/")) -> UsableCores:
    """Return what this process may use now.

    Args:
        root: Where `proc` and `sys` are mounted.
    """
    can_pin = hasattr(os, "sched_setaffinity")
    usable = sorted(os.sched_getaffinity(0)) if can_pin else range(os.cpu_count() or 1)
    return UsableCores(_physical(usable, root), _quota(root), can_pin)


def _physical(cores: Iterable[int], root: Path) -> tuple[tuple[int, ...], ...]:
    """Return the cores by physical core."""
    found: dict[tuple[int, int], list[int]] = {}
    for core in cores:
        folder = root / f"sys/devices/system/cpu/cpu{core}/topology"
        try:
            place = tuple(
                int((folder / name).read_text(encoding="ascii"))
                for name in ("physical_package_id", "core_id")
            )
        except (OSError, ValueError):
            place = (0, core)
        found.setdefault((place[0], place[1]), []).append(core)
    return tuple(tuple(found[place]) for place in sorted(found))


def _quota(root: Path) -> float | None:
    """Return the least quota of the control groups of this process."""
    read = {1: _quota_1, 2: _quota_2}
    found = (read[version](folder) for version, folder in control_groups("cpu", root))
    return min((quota for quota in found if quota is not None), default=None)


def _quota_2(folder: Path) -> float | None:
    try:
        quota_us, period_us = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota_us) / int(period_us)
    except (OSError, ValueError):  # No file, or `max`.
        return None


def _quota_1(folder: Path) -> float | None:
    try:
        quota_us = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None
