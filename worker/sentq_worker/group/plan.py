"""Which processes a group has: their names, devices, cores and threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sentq_worker.engine.base import DeviceUnavailable
from sentq_worker.group.cores import UsableCores, core_groups
from sentq_worker.group.devices import FoundDevices
from sentq_worker.settings import WorkerSettings

__all__ = ["ChildPlan", "GroupPlan", "is_group", "plan_group"]

_AUTO: Final = "auto"

#: Each process holds a model of its own in memory. With more cores than this, `auto` gives each
#: process several.
_MOST_AUTOMATIC: Final = 8


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """One process of a group.

    Attributes:
        label: Names it within the group, such as `cuda0` or `cpu1`: also after a restart.
        device: Its device.
        cores: The cores that it may use; None for those of the parent.
        threads: The threads that compute the model; None for torch's own choice.
    """

    label: str
    device: str
    cores: frozenset[int] | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """All processes of a group.

    Attributes:
        children: The processes.
        notes: What the operator should know of this choice.
    """

    children: tuple[ChildPlan, ...]
    notes: tuple[str, ...] = ()


def is_group(settings: WorkerSettings) -> bool:
    """Whether the settings ask for a parent with children, and not for one worker."""
    return bool(settings.devices) or settings.processes != "1"


def plan_group(
    settings: WorkerSettings,
    usable: UsableCores,
    find_devices: Callable[[], FoundDevices],
    *,
    uses_local_model: bool = True,
) -> GroupPlan:
    """Return the processes that the settings ask for.

    Args:
        settings: The settings of the worker.
        usable: The cores that this process may use.
        find_devices: Asks torch; not called if the settings name the devices.
        uses_local_model: Whether there is a model to compute; otherwise devices do not matter.

    Raises:
        DeviceUnavailable: There is no CUDA device, and the settings ask for all of them.
    """
    devices = ["cpu"]
    if uses_local_model:
        devices = _devices(settings, find_devices)
    if devices == ["cpu"]:
        children, notes = _on_cores(settings, usable)
        if settings.devices == (_AUTO,) and uses_local_model:
            notes.insert(0, "auto finds no GPU here: the model runs on the CPU")
        return GroupPlan(children, tuple(notes))
    copies = 1 if settings.processes == _AUTO else int(settings.processes)
    return GroupPlan(tuple(_on_devices(devices, copies, settings.threads)))


def _devices(settings: WorkerSettings, find_devices: Callable[[], FoundDevices]) -> list[str]:
    """Return the devices by their names in torch."""
    wanted = settings.devices or (settings.device,)
    if _AUTO in wanted:
        found = find_devices()
        best = _cuda(found) or (["mps"] if found.has_mps else ["cpu"])
        return best if settings.devices else best[:1]
    if settings.devices == ("cuda",):
        if not (all_of_them := _cuda(find_devices())):
            raise DeviceUnavailable(
                "the devices cuda are configured, but torch finds none here: set "
                "SENTQ_WORKER_DEVICES=auto, or install a CUDA build of torch"
            )
        return all_of_them
    return list(wanted)


def _cuda(found: FoundDevices) -> list[str]:
    return [f"cuda:{number}" for number in range(found.cuda)]


def _on_devices(devices: Sequence[str], copies: int, threads: int | None) -> list[ChildPlan]:
    return [
        ChildPlan(
            device.replace(":", "") + (f"-{copy}" if copies > 1 else ""), device, threads=threads
        )
        for device in devices
        for copy in range(copies)
    ]


def _on_cores(
    settings: WorkerSettings, usable: UsableCores
) -> tuple[tuple[ChildPlan, ...], list[str]]:
    """Return the processes on the CPU: each with cores of its own, if these can be told."""
    most = usable.whole_cores
    count = min(most, _MOST_AUTOMATIC) if settings.processes == _AUTO else int(settings.processes)
    notes = []
    groups = core_groups(usable.cores, count)
    is_pinned = usable.can_pin and not usable.is_limited and len(groups) == count
    if usable.is_limited:
        notes.append(
            f"the limit of this container is {usable.quota:g} cores: its cores are shared with "
            "other containers, so no process is bound to cores of its own"
        )
    if count > most:
        notes.append(
            f"{count} processes share {most} cores: each computes with one thread, and they wait "
            "for each other. Set SENTQ_WORKER_PROCESSES=auto for a process for each core"
        )
    return tuple(
        ChildPlan(
            f"cpu{number}",
            "cpu",
            frozenset(core for unit in groups[number] for core in unit) if is_pinned else None,
            settings.threads or (len(groups[number]) if is_pinned else max(1, most // count)),
        )
        for number in range(count)
    ), notes
