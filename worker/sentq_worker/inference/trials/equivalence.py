"""The trial of a way to run a model: does it give the model's own logits for random tokens?"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Final, Protocol

import torch

from sentq_worker.engine.base import Window
from sentq_worker.inference.classifier import ClassifierConfig

__all__ = ["Forward", "is_exact", "trial_logits", "trial_windows"]

logger = logging.getLogger(__name__)

#: The largest error of fp32 logits, relative to the largest logit. Rounding gives some 1e-6.
_TOLERANCE: Final = 1e-4

#: Lengths of the trial's windows; two are equal, so that they share a group.
_TRIAL_TOKENS: Final = (5, 17, 3, 17, 33)


class Forward(Protocol):
    """A way to run a model."""

    @property
    def name(self) -> str:
        """Its name in the log."""
        ...

    def logits(self, batch: Sequence[Window]) -> torch.Tensor:
        """Return the logits, shape (windows, labels), in the order of the batch."""
        ...


def trial_windows(
    config: ClassifierConfig, *, window_tokens: int, lengths: Sequence[int] = _TRIAL_TOKENS
) -> list[Window]:
    """Return windows of random tokens, the same each time, without padding tokens."""
    rng = random.Random(0)  # noqa: S311 - nothing secret
    tokens = [token for token in range(config.vocab_size) if token != config.pad_token_id]
    fitting = [min(length, window_tokens) for length in lengths]
    return [Window(rng.choices(tokens, k=length), length) for length in fitting]


def trial_logits(forward: Forward, windows: Sequence[Window]) -> torch.Tensor | None:
    """Return the logits in fp32, on the CPU; None if an error is raised."""
    try:
        return forward.logits(windows).float().cpu()
    except Exception as error:  # noqa: BLE001 - after any error the model is not run in this way
        logger.debug("a way to run the model raised %s", type(error).__name__)
        return None


def is_exact(logits: torch.Tensor | None, expected: torch.Tensor) -> bool:
    """Return whether logits computed in fp32 are the expected ones, except for rounding."""
    if logits is None:
        return False
    error = (logits - expected).abs().max()
    return bool(error <= _TOLERANCE * expected.abs().max().clamp(min=1))  # not for NaN
