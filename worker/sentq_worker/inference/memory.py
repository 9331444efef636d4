"""How many bytes the weights of a model take in memory, and how many there are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final

from sentq_worker.control_groups import control_groups

__all__ = ["free_memory_bytes", "memory_limit_bytes", "weights_bytes"]

#: The bytes of a number in memory. `auto` may take fp32.
_ITEM_BYTES: Final = {"float32": 4, "auto": 4, "bfloat16": 2, "float16": 2}

#: A file of safetensors begins with the length of its header, in so many bytes.
_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 100_000_000

#: The file of a control group with its limit, by the version of control groups.
_LIMITS: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}

#: The file with what it uses, and how the line of `memory.stat` begins that says how much of that
#: are caches of files, which the kernel gives up.
_USED: Final = {1: "memory.usage_in_bytes", 2: "memory.current"}
_CACHES: Final = {1: "total_cache ", 2: "file "}


def weights_bytes(folder: Path, dtype: str) -> int:
    """Return the bytes of the weights of the model in a folder, in this dtype.

    A file that cannot be read counts with its size: to load it fails with an error of its own.
    """
    return sum(_file_bytes(file, _ITEM_BYTES[dtype]) for file in folder.glob("*.safetensors"))


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory this process may use: that of its container, or of the machine. None
    if the system does not tell.

    Args:
        root: Where `proc` and `sys` are mounted.
    """
    groups = control_groups("memory", root)
    found = [_number(group.folder / _LIMITS[group.version]) for group in groups]
    found.append(_machine_bytes("MemTotal:", root))
    return min((limit for limit in found if limit), default=None)


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how much more memory this process may use, caches of files left out. None if the
    system does not tell.

    Args:
        root: Where `proc` and `sys` are mounted.
    """
    found = [_machine_bytes("MemAvailable:", root)]
    for group in control_groups("memory", root):
        limit_bytes = _number(group.folder / _LIMITS[group.version])
        used_bytes = _number(group.folder / _USED[group.version])
        if limit_bytes is not None and used_bytes is not None:
            caches = _number_after(_CACHES[group.version], group.folder / "memory.stat") or 0
            found.append(max(0, limit_bytes - used_bytes + caches))
    return min((free for free in found if free is not None), default=None)


def _file_bytes(file: Path, item_bytes: int) -> int:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
        shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        return item_bytes * sum(map(math.prod, shapes))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return file.stat().st_size


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # There is no such file, or no limit.


def _machine_bytes(word: str, root: Path) -> int | None:
    kibibytes = _number_after(word, root / "proc/meminfo")
    return None if kibibytes is None else kibibytes * 1024


def _number_after(word: str, file: Path) -> int | None:
    """Return the number in the line of a file that begins with a word."""
    try:
        lines = file.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(word))
    except (OSError, ValueError, StopIteration):
        return None
