"""How a model on a CPU is run: packed if that gives its own logits, padded otherwise.

A trial runs each way on a few windows of random tokens and compares it with the model as its own
class runs it. A way that differs or raises is undone, so that an unknown family is slower and never
wrong. What trials have found may be kept for the next start: see `cache`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import torch

from sentq_worker.engine.base import Window
from sentq_worker.inference.attention_cpu import GroupedAttention
from sentq_worker.inference.classifier import Classifier
from sentq_worker.inference.device import dtype_name, move_model
from sentq_worker.inference.packed import CannotPack, PackedForward
from sentq_worker.inference.padded import PaddedForward
from sentq_worker.inference.trials.cache import Choice, PackedForm, TrialCache
from sentq_worker.inference.trials.equivalence import Forward, is_exact, trial_logits, trial_windows
from sentq_worker.inference.trials.kernels import PrepackedLayers, fastest, time_kernels

__all__ = ["choose_forward"]

logger = logging.getLogger(__name__)

_PADDED: Final = "padded"

#: The faster form first.
_PACKED: Final[tuple[PackedForm, ...]] = ("packed", "packed, last layer whole")


def choose_forward(
    model: Classifier,
    *,
    dtype: torch.dtype | None,
    pad_id: int | None,
    window_tokens: int,
    cache: TrialCache | None = None,
) -> Forward:
    """Find the fastest exact way to run a model on the CPU, and cast the model.

    Args:
        model: The model. Trials cast it to fp32: with fewer bits, rounding would hide errors.
        dtype: The dtype of the result. None takes bf16 for a packed model if it is faster here; how
            well a padded model tolerates bf16 is not known.
        pad_id: The id of the padding token.
        window_tokens: Most tokens that the model reads at once.
        cache: Keeps the choice. Its inputs include all other arguments.
    """
    padded = PaddedForward(model, pad_id=pad_id)
    kept = None if cache is None else cache.read()
    forward: Forward
    if kept is not None:
        choice, forward = kept, padded if kept.form == _PADDED else _pack(model, kept.form)
    else:
        move_model(model, torch.device("cpu"), torch.float32)
        windows = trial_windows(model.config, window_tokens=window_tokens)
        with torch.inference_mode():
            choice, forward = _try(model, padded, windows, dtype, cache)
    move_model(model, torch.device("cpu"), getattr(torch, choice.dtype))
    if choice.kernel == "onednn":
        PrepackedLayers(model)
    logger.info(
        "%s runs %s, multiplied by %s in %s%s",
        model.config.model_type,
        forward.name,
        choice.kernel,
        choice.dtype,
        "" if kept is None else ", as in trials before",
    )
    return forward


def _try(
    model: Classifier,
    padded: PaddedForward,
    windows: Sequence[Window],
    dtype: torch.dtype | None,
    cache: TrialCache | None,
) -> tuple[Choice, Forward]:
    """Try all ways. The model stays in fp32, and in the form of the chosen one."""
    expected = padded.logits(windows)
    form, forward = _packed(model, windows, expected) or (_PADDED, padded)
    dtypes = _dtypes(dtype, forward)
    times_s = time_kernels(model, dtypes)
    if cache is not None:
        times_s = cache.least(times_s)
    kernel, chosen = fastest(times_s, dtypes[0])
    if kernel == "onednn" and not _is_prepacking_exact(model, forward, windows, expected):
        kernel = "torch"
    names = {"form": form, "kernel": kernel, "dtype": dtype_name(chosen)}
    choice = Choice.model_validate(names)
    if cache is not None:
        cache.write(choice, times_s)
    return choice, forward


def _dtypes(configured: torch.dtype | None, forward: Forward) -> list[torch.dtype]:
    if configured is not None:
        return [configured]
    is_packed = isinstance(forward, PackedForward)
    return [torch.float32, torch.bfloat16] if is_packed else [torch.float32]


def _packed(
    model: Classifier, windows: Sequence[Window], expected: torch.Tensor
) -> tuple[PackedForm, PackedForward] | None:
    for form in _PACKED:
        try:
            packed = _pack(model, form)
        except CannotPack:
            return None
        if is_exact(trial_logits(packed, windows), expected):
            return form, packed
        packed.undo()
    return None


def _pack(model: Classifier, form: PackedForm) -> PackedForward:
    return PackedForward(model, GroupedAttention(), last_layer_whole=form != _PACKED[0])


def _is_prepacking_exact(
    model: Classifier, forward: Forward, windows: Sequence[Window], expected: torch.Tensor
) -> bool:
    layers = PrepackedLayers(model)
    exact = is_exact(trial_logits(forward, windows), expected)
    layers.undo()
    return exact
