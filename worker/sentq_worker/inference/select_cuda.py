"""How a model on CUDA is run: packed if that is sound and faster there, padded otherwise.

 on the CPU, in fp32     which packed ways give the model's own answers; with fewer bits, rounding
                         would hide what is wrong
 on CUDA, in its dtype   whether torch's flash attention is as near to those answers as padding is,
                         and faster

What differs, raises or is slower is undone: a GPU, a torch or a family that nobody thought of costs
speed and never an answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from sentq_worker.engine.base import DeviceUnavailable, Window
from sentq_worker.inference.attention_cuda import Varlen
from sentq_worker.inference.device import answers
from sentq_worker.inference.equivalence import Forward, is_exact, probe, probe_windows
from sentq_worker.inference.grouped import Grouped
from sentq_worker.inference.packed import CannotPack, Packed
from sentq_worker.inference.padded import Padded

__all__ = ["choose_on_cuda"]

logger = logging.getLogger(__name__)

#: What flash attention computes in.
_FLASH_DTYPES: Final = (torch.bfloat16, torch.float16)

#: Lengths of the probe's windows. Flash attention goes by blocks of 64 or 128 tokens: one window
#: takes more than one of them.
_PROBE_TOKENS: Final = (5, 17, 3, 150, 17, 33)

#: How far packed logits may be off: so many times as far as padded ones in the same dtype, or so
#: much of the largest logit, whichever is more.
_AS_FAR_AS_PADDED: Final = 2.0
_OF_THE_LARGEST: Final = 0.02

#: Lengths of the timed windows: some thousand tokens, mixed no more than in a batch that was cut
#: from many sorted windows. A wilder mixture would be unfair to padding.
_TIMED_TOKENS: Final = tuple(range(64, 129))

#: Turns of the timing, of which the best counts.
_TURNS: Final = 5

#: Whether the last layer is computed whole: the faster way first.
_WAYS: Final = (False, True)


#: How long a way to run the model takes for a batch, in seconds.
Timer = Callable[[Forward, Sequence[Window]], float]


def best_turn_s(forward: Forward, batch: Sequence[Window]) -> float:
    """The shortest of some turns, each until the logits have come back from the device."""

    def turn_s() -> float:
        started = time.perf_counter()
        forward.logits(batch).cpu()
        return time.perf_counter() - started

    return min(turn_s() for _ in range(_TURNS))


def choose_on_cuda(
    model: Any,
    *,
    device: torch.device,
    dtype: torch.dtype,
    pad_id: int | None,
    window_tokens: int,
    varlen: Varlen | None,
    timer: Timer = best_turn_s,
) -> Forward:
    """Find the fastest sound way to run a model, cast it and put it where it runs.

    Args:
        model: On the CPU, in fp32.
        device: Where to.
        dtype: What to cast it to. In fp32 it is padded.
        varlen: Attention of packed windows, where the installed torch has one.
        timer: What tells the faster way.

    Raises:
        DeviceUnavailable: The trial left the device broken.
    """
    padded = Padded(model, pad_id=pad_id)
    windows = probe_windows(model.config, window_tokens=window_tokens, lengths=_PROBE_TOKENS)
    known = None
    if varlen is not None and dtype in _FLASH_DTYPES:
        known = _known_in_fp32(model, padded, windows)
    model.to(device, dtype)
    forward: Forward = padded
    if varlen is not None and known is not None:
        batch = probe_windows(model.config, window_tokens=window_tokens, lengths=_TIMED_TOKENS)
        trial = _Trial(windows, known.logits, batch, timer)
        forward = _packed(model, varlen, known.ways, trial, padded, device) or padded
    logger.info(
        "%s runs %s on %s in %s",
        model.config.model_type,
        type(forward).__name__.lower(),
        device,
        str(dtype).removeprefix("torch."),
    )
    return forward


@dataclass(frozen=True, slots=True)
class _Known:
    """What a model gives in fp32."""

    #: Of the probe's windows.
    logits: torch.Tensor
    #: The packed ways that give the same: with the last layer whole or not.
    ways: Sequence[bool]


@torch.inference_mode()
def _known_in_fp32(model: Any, padded: Padded, windows: Sequence[Window]) -> _Known | None:
    found = {whole: _packed_logits(model, windows, last_layer_whole=whole) for whole in _WAYS}
    if all(logits is None for logits in found.values()):
        return None  # As a decoder, in its first layer: a large one takes long on a CPU.
    expected = probe(padded, windows)
    if expected is None:
        return None
    ways = [whole for whole in _WAYS if is_exact(found[whole], expected)]
    return _Known(expected, ways) if ways else None


def _packed_logits(
    model: Any, windows: Sequence[Window], *, last_layer_whole: bool
) -> torch.Tensor | None:
    try:
        packed = Packed(model, Grouped(), last_layer_whole=last_layer_whole)
    except CannotPack:
        return None
    logits = probe(packed, windows)
    packed.undo()
    return logits


@dataclass(frozen=True, slots=True)
class _Measured:
    #: Largest error of a logit.
    error: float
    time_s: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """What each way has to show on the device."""

    windows: Sequence[Window]
    expected: torch.Tensor
    batch: Sequence[Window]
    timer: Timer

    def measure(self, forward: Forward) -> _Measured | None:
        """None where it raises, or answers with what is no number."""
        logits = probe(forward, self.windows)
        if logits is None or not logits.isfinite().all():
            return None
        try:
            time_s = self.timer(forward, self.batch)
        except Exception as problem:  # noqa: BLE001 - memory may be short for a whole batch
            logger.debug("a way to run the model raised %s", type(problem).__name__)
            return None
        return _Measured(float((logits - self.expected).abs().max()), time_s)

    def prefers(self, packed: _Measured, padded: _Measured) -> bool:
        """Whether packed windows are sound, and faster than padded ones."""
        allowed = max(
            _AS_FAR_AS_PADDED * padded.error, _OF_THE_LARGEST * float(self.expected.abs().max())
        )
        return packed.error <= allowed and packed.time_s < padded.time_s


@torch.inference_mode()
def _packed(
    model: Any,
    varlen: Varlen,
    ways: Sequence[bool],
    trial: _Trial,
    padded: Padded,
    device: torch.device,
) -> Packed | None:
    usual = trial.measure(padded)
    if usual is None:
        return None
    for last_layer_whole in ways:
        packed = Packed(model, varlen, last_layer_whole=last_layer_whole)
        measured = trial.measure(packed)
        logger.debug("packed windows: %s, padded ones: %s", measured, usual)
        if measured is not None and trial.prefers(measured, usual):
            return packed
        packed.undo()
        if not answers(device):
            raise DeviceUnavailable(
                f"{device} broke as packed windows were tried on it, and only a new process may "
                "have it again: set SENTQ_WORKER_DTYPE=float32, which does without them"
            )
    return None
