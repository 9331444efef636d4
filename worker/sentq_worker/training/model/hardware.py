"""The device and the precision of a training."""

from __future__ import annotations

import torch

from sentq_worker.training.errors import TrainingOptionsError

__all__ = ["resolve_device", "resolve_dtype"]


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the first GPU, or the CPU without a GPU.

    Raises:
        TrainingOptionsError: torch does not know the device, or cannot use it on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise TrainingOptionsError(
            f"--device {name} cannot be used here: try cpu, or leave it out"
        ) from error
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; `auto` is bfloat16 if the device multiplies it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    # Private, and not in every version of torch. Without them float32 is used: slower, but correct.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
