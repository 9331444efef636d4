"""How a model on CUDA is run: packed if that is exact and faster there, padded otherwise.

 on the CPU, in fp32     which packed ways give the model's own logits; with fewer bits, rounding
                         would hide errors
 on CUDA, in its dtype   whether torch's flash attention is as near to those logits as padding is,
                         and faster

A way that differs, raises or is slower is undone: an unknown GPU, torch or family is slower and
never wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from sentq_worker.engine.base import DeviceUnavailable, Window
from sentq_worker.inference.attention_cpu import GroupedAttention
from sentq_worker.inference.attention_cuda import VarlenAttention
from sentq_worker.inference.classifier import Classifier
from sentq_worker.inference.device import device_works, dtype_name, move_model
from sentq_worker.inference.packed import CannotPack, PackedForward
from sentq_worker.inference.padded import PaddedForward
from sentq_worker.inference.trials.equivalence import Forward, is_exact, trial_logits, trial_windows

__all__ = ["choose_on_cuda"]

logger = logging.getLogger(__name__)

#: The dtypes of flash attention.
_FLASH_DTYPES: Final = (torch.bfloat16, torch.float16)

#: Lengths of the trial's windows. Flash attention computes blocks of 64 or 128 tokens: one window
#: takes more than one of them.
_TRIAL_TOKENS: Final = (5, 17, 3, 150, 17, 33)

#: The largest error of packed logits: a multiple of the error of padded ones in the same dtype, or
#: a share of the largest logit, the greater of the two.
_MAX_PADDED_ERRORS: Final = 2.0
_MAX_SHARE_OF_LOGIT: Final = 0.02

#: Lengths of the timed windows: some thousand tokens, mixed no more than in a batch that was cut
#: from many sorted windows. A wilder mixture would be unfair to padding.
_TIMED_TOKENS: Final = tuple(range(64, 129))

#: Turns of the timing, of which the fastest counts.
_TURNS: Final = 5

#: Whether the last layer is computed whole: the faster way first.
_WAYS: Final = (False, True)


#: Returns how long a way to run the model takes for a batch, in seconds.
Timer = Callable[[Forward, Sequence[Window]], float]


def best_turn_s(forward: Forward, batch: Sequence[Window]) -> float:
    """Return the fastest of several turns, each until the device has returned the logits."""

    def turn_s() -> float:
        started = time.perf_counter()
        forward.logits(batch).cpu()
        return time.perf_counter() - started

    return min(turn_s() for _ in range(_TURNS))


def choose_on_cuda(
    model: Classifier,
    *,
    device: torch.device,
    dtype: torch.dtype,
    pad_id: int | None,
    window_tokens: int,
    varlen: VarlenAttention | None,
    timer: Timer = best_turn_s,
) -> Forward:
    """Find the fastest exact way to run a model; cast it and move it to its device.

    Args:
        model: The model on the CPU. Trials cast it to fp32 first.
        device: The device.
        dtype: The dtype of the result. In fp32 the model is padded.
        pad_id: The id of the padding token.
        window_tokens: Most tokens that the model reads at once.
        varlen: Attention of packed windows, if the installed torch has one.
        timer: Measures the ways.

    Raises:
        DeviceUnavailable: The trial left the device broken.
    """
    padded = PaddedForward(model, pad_id=pad_id)
    windows = trial_windows(model.config, window_tokens=window_tokens, lengths=_TRIAL_TOKENS)
    reference = None
    if varlen is not None and dtype in _FLASH_DTYPES:
        move_model(model, torch.device("cpu"), torch.float32)
        reference = _reference(model, padded, windows)
    move_model(model, device, dtype)
    forward: Forward = padded
    if varlen is not None and reference is not None:
        batch = trial_windows(model.config, window_tokens=window_tokens, lengths=_TIMED_TOKENS)
        trial = _Trial(windows, reference.logits, batch, timer)
        forward = _packed(model, varlen, reference.ways, trial, padded, device) or padded
    logger.info(
        "%s runs %s on %s in %s",
        model.config.model_type,
        forward.name,
        device,
        dtype_name(dtype),
    )
    return forward


@dataclass(frozen=True, slots=True)
class _Reference:
    """The results of a model in fp32."""

    #: The logits of the trial's windows.
    logits: torch.Tensor
    #: The packed ways that give the same logits: with the last layer whole or not.
    ways: Sequence[bool]


@torch.inference_mode()
def _reference(
    model: Classifier, padded: PaddedForward, windows: Sequence[Window]
) -> _Reference | None:
    found = {whole: _packed_logits(model, windows, last_layer_whole=whole) for whole in _WAYS}
    if all(logits is None for logits in found.values()):
        # A decoder, for example, raises in its first layer. Padded it would take long on a CPU.
        return None
    expected = trial_logits(padded, windows)
    if expected is None:
        return None
    ways = [whole for whole in _WAYS if is_exact(found[whole], expected)]
    return _Reference(expected, ways) if ways else None


def _packed_logits(
    model: Classifier, windows: Sequence[Window], *, last_layer_whole: bool
) -> torch.Tensor | None:
    try:
        packed = PackedForward(model, GroupedAttention(), last_layer_whole=last_layer_whole)
    except CannotPack:
        return None
    logits = trial_logits(packed, windows)
    packed.undo()
    return logits


@dataclass(frozen=True, slots=True)
class _Measurement:
    """The result of a way in the trial."""

    #: The largest error of a logit.
    error: float
    time_s: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """The trial of each way on the device."""

    windows: Sequence[Window]
    expected: torch.Tensor
    batch: Sequence[Window]
    timer: Timer

    def measure(self, forward: Forward) -> _Measurement | None:
        """Return the error and the time of a way; None if it raises, or a logit is not finite."""
        logits = trial_logits(forward, self.windows)
        if logits is None or not logits.isfinite().all():
            return None
        try:
            time_s = self.timer(forward, self.batch)
        except Exception as error:  # noqa: BLE001 - memory may not suffice for a whole batch
            logger.debug("a way to run the model raised %s", type(error).__name__)
            return None
        return _Measurement(float((logits - self.expected).abs().max()), time_s)

    def is_better(self, packed: _Measurement, padded: _Measurement) -> bool:
        """Return whether packed windows are exact, and faster than padded ones."""
        allowed = max(
            _MAX_PADDED_ERRORS * padded.error,
            _MAX_SHARE_OF_LOGIT * float(self.expected.abs().max()),
        )
        return packed.error <= allowed and packed.time_s < padded.time_s


@torch.inference_mode()
def _packed(
    model: Classifier,
    varlen: VarlenAttention,
    ways: Sequence[bool],
    trial: _Trial,
    padded: PaddedForward,
    device: torch.device,
) -> PackedForward | None:
    usual = trial.measure(padded)
    if usual is None:
        return None
    for last_layer_whole in ways:
        packed = PackedForward(model, varlen, last_layer_whole=last_layer_whole)
        measured = trial.measure(packed)
        logger.debug("packed windows: %s, padded ones: %s", measured, usual)
        if measured is not None and trial.is_better(measured, usual):
            return packed
        packed.undo()
        if not device_works(device):
            raise DeviceUnavailable(
                f"{device} failed in the trial of packed windows, and only a new process can use "
                "it again: set SENTQ_WORKER_DTYPE=float32, which does not pack windows"
            )
    return None
