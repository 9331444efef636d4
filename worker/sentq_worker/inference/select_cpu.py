"""How a model on a CPU is run: packed if that gives its own answers, padded otherwise.

Each way is tried on a few windows of random tokens and compared with the model as Transformers
runs it. What differs or raises is undone, so a family that nobody thought of costs speed and
never an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from sentq_worker.engine.base import Window
from sentq_worker.inference.equivalence import Forward, is_exact, probe, probe_windows
from sentq_worker.inference.grouped import Grouped
from sentq_worker.inference.kernels import Prepacked, choose_kernel
from sentq_worker.inference.packed import CannotPack, Packed
from sentq_worker.inference.padded import Padded

__all__ = ["choose_forward"]

logger = logging.getLogger(__name__)


def choose_forward(
    model: Any, *, dtype: torch.dtype | None, pad_id: int | None, window_tokens: int
) -> Forward:
    """Find the fastest exact way to run a model on the CPU, and cast it.

    Args:
        model: In fp32: with fewer bits, rounding would hide what is wrong.
        dtype: What to cast it to. None takes bf16 for a packed model if it is faster here; how
            others take it is not known.
    """
    padded = Padded(model, pad_id=pad_id)
    windows = probe_windows(model.config, window_tokens=window_tokens)
    with torch.inference_mode():
        expected = padded.logits(windows)
        forward = _packed(model, windows, expected) or padded
        kernel, dtype = choose_kernel(model, _dtypes(dtype, forward))
        if kernel == "onednn" and not _prepacking_agrees(model, forward, windows, expected):
            kernel = "torch"
    model.to(dtype)
    if kernel == "onednn":
        Prepacked(model)
    logger.info(
        "%s runs %s, multiplied by %s in %s",
        model.config.model_type,
        type(forward).__name__.lower(),
        kernel,
        str(dtype).removeprefix("torch."),
    )
    return forward


def _dtypes(wanted: torch.dtype | None, forward: Forward) -> list[torch.dtype]:
    if wanted is not None:
        return [wanted]
    return [torch.float32, torch.bfloat16] if isinstance(forward, Packed) else [torch.float32]


def _packed(model: Any, windows: Sequence[Window], expected: torch.Tensor) -> Packed | None:
    for last_layer_whole in (False, True):
        try:
            packed = Packed(model, Grouped(), last_layer_whole=last_layer_whole)
        except CannotPack:
            return None
        if is_exact(probe(packed, windows), expected):
            return packed
        packed.undo()
    return None


def _prepacking_agrees(
    model: Any, forward: Forward, windows: Sequence[Window], expected: torch.Tensor
) -> bool:
    prepacked = Prepacked(model)
    agrees = is_exact(probe(forward, windows), expected)
    prepacked.undo()
    return agrees
