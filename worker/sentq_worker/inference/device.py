"""The device of the local engine: which one, in which dtype, and whether it still works."""

from __future__ import annotations

from typing import Final

import torch

from sentq_worker.engine.base import DeviceUnavailable
from sentq_worker.inference.classifier import Classifier

__all__ = ["best_dtype", "choose_device", "device_works", "dtype_name", "move_model"]

#: The first CUDA capability whose tensor cores multiply bf16: Ampere.
_CUDA_BF16: Final = (8, 0)


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.

    Raises:
        DeviceUnavailable: The machine has no such device.
    """
    if name == "auto":
        return _best_device()
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = device.index or 0
        if index >= count:
            raise DeviceUnavailable(
                f"the device {name} is configured, but torch finds {count} CUDA devices here: "
                "set SENTQ_WORKER_DEVICE=auto, or install a CUDA build of torch"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("the device mps is configured, but torch finds none here")
    return device


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 for a GPU that multiplies it, and fp32 otherwise. A CPU is measured instead."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _CUDA_BF16:
        return torch.bfloat16
    return torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype, such as `float32`."""
    return str(dtype).removeprefix("torch.")


def move_model(
    model: Classifier, device: torch.device, dtype: torch.dtype | None = None
) -> Classifier:
    """Move a model to a device, cast it to a dtype if one is given, and return it."""
    return model.to(device, dtype)


def device_works(device: torch.device) -> bool:
    """Return whether the device still computes.

    After a failure this tells a lost device from a failed batch, which the message does not: once a
    driver fails or a kernel asserts, every operation of the process on the device fails.
    """
    try:
        return bool(torch.zeros(1, device=device).add(1).item())
    except Exception:  # noqa: BLE001 - torch has many classes for this, by version and device
        return False
