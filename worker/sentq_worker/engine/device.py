"""Which device the local engine runs on."""

from __future__ import annotations

import torch

from sentq_worker.engine.base import DeviceUnavailable

__all__ = ["choose_device"]


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu`, `mps`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        DeviceUnavailable: It is not.
    """
    if wanted == "auto":
        return _best()
    device = torch.device(wanted)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = device.index or 0
        if index >= count:
            raise DeviceUnavailable(
                f"{wanted} was asked for, but torch sees {count} CUDA devices here: "
                "set SENTQ_WORKER_DEVICE=auto, or install a CUDA build of torch"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("mps was asked for, but torch sees none here")
    return device


def _best() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
