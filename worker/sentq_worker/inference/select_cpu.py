"""How a model on a CPU is run: packed if that gives its own logits, padded otherwise.

A trial runs each way on a few windows of random tokens and compares it with the model as
Transformers runs it. A way that differs or raises is undone, so that an unknown family is slower
and never wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from sentq_worker.engine.base import Window
from sentq_worker.inference.attention_cpu import GroupedAttention
from sentq_worker.inference.device import move_model
from sentq_worker.inference.equivalence import Forward, is_exact, trial_logits, trial_windows
from sentq_worker.inference.kernels import PrepackedLayers, choose_kernel
from sentq_worker.inference.packed import CannotPack, PackedForward
from sentq_worker.inference.padded import PaddedForward

__all__ = ["choose_forward"]

logger = logging.getLogger(__name__)


def choose_forward(
    model: PreTrainedModel, *, dtype: torch.dtype | None, pad_id: int | None, window_tokens: int
) -> Forward:
    """Find the fastest exact way to run a model on the CPU, and cast the model.

    Args:
        model: The model in fp32: with fewer bits, rounding would hide errors.
        dtype: The dtype of the result. None takes bf16 for a packed model if it is faster here; how
            well a padded model tolerates bf16 is not known.
        pad_id: The id of the padding token.
        window_tokens: Most tokens that the model reads at once.
    """
    padded = PaddedForward(model, pad_id=pad_id)
    windows = trial_windows(model.config, window_tokens=window_tokens)
    with torch.inference_mode():
        expected = padded.logits(windows)
        forward = _packed(model, windows, expected) or padded
        kernel, dtype = choose_kernel(model, _dtypes(dtype, forward))
        if kernel == "onednn" and not _is_prepacking_exact(model, forward, windows, expected):
            kernel = "torch"
    move_model(model, torch.device("cpu"), dtype)
    if kernel == "onednn":
        PrepackedLayers(model)
    logger.info(
        "%s runs %s, multiplied by %s in %s",
        model.config.model_type,
        forward.name,
        kernel,
        str(dtype).removeprefix("torch."),
    )
    return forward


def _dtypes(configured: torch.dtype | None, forward: Forward) -> list[torch.dtype]:
    if configured is not None:
        return [configured]
    is_packed = isinstance(forward, PackedForward)
    return [torch.float32, torch.bfloat16] if is_packed else [torch.float32]


def _packed(
    model: PreTrainedModel, windows: Sequence[Window], expected: torch.Tensor
) -> PackedForward | None:
    for last_layer_whole in (False, True):
        try:
            packed = PackedForward(model, GroupedAttention(), last_layer_whole=last_layer_whole)
        except CannotPack:
            return None
        if is_exact(trial_logits(packed, windows), expected):
            return packed
        packed.undo()
    return None


def _is_prepacking_exact(
    model: PreTrainedModel, forward: Forward, windows: Sequence[Window], expected: torch.Tensor
) -> bool:
    layers = PrepackedLayers(model)
    exact = is_exact(trial_logits(forward, windows), expected)
    layers.undo()
    return exact
