"""What trials have found for a model on this machine, kept for the next start of a worker.

    <digest of the inputs>.json    {"inputs": {...}, "choice": {...}, "times": [...], "starts": 2}

The inputs are all that the trials depend on: the processor, torch, its threads, the model, the code
here, and the settings. A file holds names of known ways and nothing that is run. It is used once
two starts have measured, of which the least times count: a busy machine can mislead one of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError

from sentq_worker.inference.device import dtype_name
from sentq_worker.inference.trials.kernels import Kernel, Way

__all__ = ["Choice", "PackedForm", "TrialCache", "inputs_of_machine"]

logger = logging.getLogger(__name__)

#: So many starts measure before a choice is used.
_STARTS: Final = 2

#: Settings of the libraries that multiply, by the beginnings of their names.
_LIBRARY_SETTINGS: Final = ("ATEN_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "TORCH_")

#: A file is some 2 kB. Linux lists some 150 flags of a processor.
_MAX_BYTES: Final = 64 * 1024

#: Whether the last layer of a packed model is computed for first tokens only.
PackedForm = Literal["packed", "packed, last layer whole"]


#: The dtypes that a model can be run in, by their names in torch.
DtypeName = Literal["float32", "bfloat16", "float16"]


class Choice(BaseModel):
    """How to run a model on a CPU."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    form: PackedForm | Literal["padded"]
    kernel: Kernel
    dtype: DtypeName


class _Timed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kernel: Kernel
    dtype: DtypeName
    s: FiniteFloat


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    inputs: dict[str, str]
    choice: Choice
    times: list[_Timed]
    starts: PositiveInt


class TrialCache:
    """Keeps the choice for one set of inputs. It may be lost at any time, and never raises.

    Args:
        folder: Where files are kept. It is made when it is needed.
        inputs: All that the choice depends on, by name.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, str]) -> None:
        self._inputs = dict(sorted(inputs.items()))
        digest = hashlib.sha256(json.dumps(self._inputs).encode()).hexdigest()
        self._file = folder / f"{digest[:32]}.json"

    def read(self) -> Choice | None:
        """Return the choice, if enough starts have measured."""
        entry = self._read()
        return entry.choice if entry is not None and entry.starts >= _STARTS else None

    def least(self, times_s: Mapping[Way, float]) -> dict[Way, float]:
        """Return the least time of each way, of these and those that are kept."""
        least = dict(times_s)
        entry = self._read()
        for timed in () if entry is None else entry.times:
            way = Way(timed.kernel, getattr(torch, timed.dtype))
            if way in least:
                least[way] = min(least[way], timed.s)
        return least

    def write(self, choice: Choice, times_s: Mapping[Way, float]) -> None:
        """Keep what the trials of one more start have found."""
        before = self._read()
        times = [
            {"kernel": way.kernel, "dtype": dtype_name(way.dtype), "s": time_s}
            for way, time_s in times_s.items()
        ]
        entry = _Entry.model_validate(
            {
                "inputs": self._inputs,
                "choice": choice,
                "times": times,
                "starts": 1 if before is None else before.starts + 1,
            }
        )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_at_once(self._file, entry.model_dump_json(indent=1))
        except OSError as error:
            logger.debug("the result of trials is not kept: %s", error)

    def _read(self) -> _Entry | None:
        try:
            with self._file.open("rb") as stream:
                if not _is_own(os.fstat(stream.fileno())):
                    logger.debug("%s is not used: others may write it", self._file)
                    return None
                entry = _Entry.model_validate_json(stream.read(_MAX_BYTES))
        except (OSError, ValidationError) as error:
            logger.debug("no trials are kept: %s", type(error).__name__)
            return None
        return entry if entry.inputs == self._inputs else None


def inputs_of_machine() -> dict[str, str]:
    """Return what trials on this machine's CPU depend on, other than the model."""
    settings = sorted(item for item in os.environ.items() if item[0].startswith(_LIBRARY_SETTINGS))
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "torch": f"{torch.__version__} {torch.version.git_version}",
        "libraries": " ".join(f"{name}={value}" for name, value in settings),
        "code": _code(),
    }


def _processor() -> str:
    """Return the name and the flags of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    first = lines[: lines.index("")] if "" in lines else lines
    found = [
        value.strip()
        for name, _, value in (line.partition(":") for line in first)
        if name.strip() in {"model name", "stepping", "flags", "CPU part", "Features"}
    ]
    return " ".join([platform.machine(), *found])


@cache
def _code() -> str:
    """Return a digest of the code that tries and runs models."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_own(status: os.stat_result) -> bool:
    """Return whether only this user can have written the file."""
    return not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & 0o022
    )


def _write_at_once(file: Path, text: str) -> None:
    """Write a file so that others read all of it or none."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
