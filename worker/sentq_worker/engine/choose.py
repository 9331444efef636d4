"""How a model on a CPU is run: packed if that gives its own answers, padded otherwise.

Each way is tried on a few windows of random tokens and compared with the model as Transformers
runs it. What differs or raises is undone, so a family that nobody thought of costs speed and
never an answer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch

from sentq_worker.engine.base import Window
from sentq_worker.engine.kernels import Prepacked, choose_kernel
from sentq_worker.engine.packed import CannotPack, Packed
from sentq_worker.engine.padded import Padded

__all__ = ["Forward", "choose_forward", "probe_windows"]

logger = logging.getLogger(__name__)

#: Most that logits may be off in fp32, relative to the largest. Rounding gives some 1e-6.
_TOLERANCE: Final = 1e-4

#: Lengths of the probe's windows; two are equal, so that they share a group.
_PROBE_TOKENS: Final = (5, 17, 3, 17, 33)


class Forward(Protocol):
    """One way to run a model."""

    def logits(self, batch: Sequence[Window]) -> torch.Tensor:
        """Shape (windows, labels), in the order of the batch."""
        ...


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
            packed = Packed(model, last_layer_whole=last_layer_whole)
        except CannotPack:
            return None
        if _agrees(packed, windows, expected):
            return packed
        packed.undo()
    return None


def _prepacking_agrees(
    model: Any, forward: Forward, windows: Sequence[Window], expected: torch.Tensor
) -> bool:
    prepacked = Prepacked(model)
    agrees = _agrees(forward, windows, expected)
    prepacked.undo()
    return agrees


def _agrees(forward: Forward, windows: Sequence[Window], expected: torch.Tensor) -> bool:
    try:
        error = (forward.logits(windows) - expected).abs().max()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the model is not for this way
        logger.debug("a way to run the model raised %s", type(problem).__name__)
        return False
    return bool(error <= _TOLERANCE * expected.abs().max().clamp(min=1))  # not for NaN


def probe_windows(config: Any, *, window_tokens: int) -> list[Window]:
    """Windows of random tokens, the same each time; none of them is padding."""
    rng = random.Random(0)  # noqa: S311 - nothing secret
    tokens = [token for token in range(config.vocab_size) if token != config.pad_token_id]
    lengths = [min(length, window_tokens) for length in _PROBE_TOKENS]
    return [Window(rng.choices(tokens, k=length), length) for length in lengths]
