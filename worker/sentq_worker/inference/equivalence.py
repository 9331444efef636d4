"""Whether a way to run a model gives the model's own answers: it is tried on random tokens."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch

from sentq_worker.engine.base import Window

__all__ = ["Forward", "is_exact", "probe", "probe_windows"]

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


def probe_windows(
    config: Any, *, window_tokens: int, lengths: Sequence[int] = _PROBE_TOKENS
) -> list[Window]:
    """Windows of random tokens, the same each time; none of them is padding."""
    rng = random.Random(0)  # noqa: S311 - nothing secret
    tokens = [token for token in range(config.vocab_size) if token != config.pad_token_id]
    fitting = [min(length, window_tokens) for length in lengths]
    return [Window(rng.choices(tokens, k=length), length) for length in fitting]


def probe(forward: Forward, windows: Sequence[Window]) -> torch.Tensor | None:
    """The logits in fp32, on the CPU; None where it raises."""
    try:
        return forward.logits(windows).float().cpu()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the model is not for this way
        logger.debug("a way to run the model raised %s", type(problem).__name__)
        return None


def is_exact(logits: torch.Tensor | None, expected: torch.Tensor) -> bool:
    """Whether these logits, computed in fp32, are those that were expected, but for rounding."""
    if logits is None:
        return False
    error = (logits - expected).abs().max()
    return bool(error <= _TOLERANCE * expected.abs().max().clamp(min=1))  # not for NaN
