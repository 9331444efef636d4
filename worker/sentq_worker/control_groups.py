"""The control groups of this process: where the limits of a container stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ControlGroup", "control_groups"]

_MOUNT: Final = "sys/fs/cgroup"


class ControlGroup(NamedTuple):
    """A control group whose limits hold for this process.

    Attributes:
        version: Of control groups, 1 or 2. They name their limits differently.
        folder: Has the files of its limits.
    """

    version: int
    folder: Path


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[ControlGroup]:
    """Yield the control group of this process, and those above it.

    The folder of a group may not exist: a container may see the path of its host, and only its own
    group where that is mounted.

    Args:
        controller: What is limited: `cpu` or `memory`.
        root: Where `proc` and `sys` are mounted.
    """
    for version, mount, path in _hierarchies(controller, root):
        inside = Path(path.lstrip("/"))
        for each in (inside, *inside.parents):
            yield ControlGroup(version, root / _MOUNT / mount / each)


def _hierarchies(controller: str, root: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the version, the mount and the path of the group in each hierarchy."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, "", path
        elif controller in controllers.split(","):
            # Mounted by its own name, by that of all controllers of the hierarchy, or both.
            yield from ((1, mount, path) for mount in {controller, controllers})
