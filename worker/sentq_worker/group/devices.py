"""The devices of this machine, asked in a process of its own, so that the parent needs no torch.

`python -m sentq_worker.group.devices` prints them as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Final

from sentq_worker.engine.base import DeviceUnavailable

__all__ = ["FoundDevices", "find_devices"]

#: A driver that answers takes seconds at most.
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class FoundDevices:
    """What torch finds.

    Attributes:
        cuda: How many CUDA devices; `CUDA_VISIBLE_DEVICES` limits them.
        has_mps: Whether there is an MPS device.
    """

    cuda: int = 0
    has_mps: bool = False


def find_devices() -> FoundDevices:
    """Return the devices that a new process finds.

    Raises:
        DeviceUnavailable: The process failed, or took too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=True,
        )
        return FoundDevices(**json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        problem = f"torch did not answer within {_TIMEOUT_S:.0f} s"
    except (subprocess.CalledProcessError, OSError, LookupError, TypeError, ValueError) as error:
        problem = f"torch cannot be asked ({error})"
    raise DeviceUnavailable(
        f"the devices of this machine are not known: {problem}. Name them: --devices cuda:0,cuda:1"
    )


def _ask_torch() -> FoundDevices:
    try:
        import torch
    except ModuleNotFoundError:  # A worker that only asks the Hub.
        return FoundDevices()
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return FoundDevices(cuda, torch.backends.mps.is_available())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_ask_torch())) + "\n")
