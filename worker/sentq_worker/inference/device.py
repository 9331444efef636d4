"""Which device the local engine runs on, in which dtype, and whether it still does."""

from __future__ import annotations

from typing import Final

import torch

from sentq_worker.engine.base import DeviceUnavailable

__all__ = ["answers", "best_dtype", "choose_device"]

#: The first CUDA capability whose tensor cores multiply bf16: Ampere.
_CUDA_BF16: Final = (8, 0)


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


def best_dtype(device: torch.device) -> torch.dtype:
    """bf16 where a GPU multiplies it itself, fp32 elsewhere. A CPU is measured instead."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _CUDA_BF16:
        return torch.bfloat16
    return torch.float32


def answers(device: torch.device) -> bool:
    """Whether the device still computes.

    After a failure nobody has to guess from its message what kind it was: once a driver fails or
    a kernel asserts, everything that the process asks of the device fails.
    """
    try:
        return bool(torch.zeros(1, device=device).add(1).item())
    except Exception:  # noqa: BLE001 - torch has many classes for this, by version and device
        return False
