"""What an engine does with windows of tokens, and the errors that it raises.

EngineError
├── ModelUnavailable     the model was not found, fetched or accepted; the worker does not start
│   └── HubRefused       the Hub rejects the token or the model
├── DeviceUnavailable    the device is missing, or failed in a trial; the worker does not start
├── OutOfMemory          the batch was too large; a smaller batch may succeed
├── EngineUnavailable    the engine computes nothing at the moment; it may later
└── DeviceLost           the device failed; only a new process may use it again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sentq.errors import SentqError

__all__ = [
    "DeviceLost",
    "DeviceUnavailable",
    "Engine",
    "EngineError",
    "EngineInfo",
    "EngineUnavailable",
    "HubRefused",
    "ModelUnavailable",
    "OutOfMemory",
    "Window",
]


class EngineError(SentqError):
    """The base of the errors that engines raise."""


class ModelUnavailable(EngineError):
    """The model cannot be loaded. The message says what to set or to install."""


class HubRefused(ModelUnavailable):
    """The Hub rejects the token, or does not score with this model.

    This lasts until the settings, or the rights of the Hub account, are changed.
    """


class DeviceUnavailable(EngineError):
    """The device is missing, or failed in a trial. The message says what to set."""


class OutOfMemory(EngineError):
    """A batch did not fit in memory. The memory that it had taken is free again."""


class EngineUnavailable(EngineError):
    """The engine computes nothing at the moment, and no batch is the cause.

    The jobs wait.

    Args:
        retry_after_s: When a retry is useful, in seconds; None if the engine cannot tell.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeviceLost(EngineError):
    """The device failed for this process: its driver failed, or a kernel ended its context.

    The code that catches it acknowledges no job and ends the process.
    """


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens that a model reads at once: those of a text, or of a part of one.

    `token_ids` includes the model's special tokens; `own_tokens` counts the others.
    """

    token_ids: list[int]
    own_tokens: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine that computed scores. It stands in every outcome."""

    model: str
    revision: str | None
    backend: str
    dtype: str
    #: The model's own labels, in the order of its outputs.
    labels: tuple[str, ...]


class Engine(Protocol):
    """Computes the probabilities of windows. One thread at a time may use it."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def pads(self) -> bool:
        """Whether a batch costs as much as if all its windows were as long as the longest."""
        ...

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        """Return the probabilities of a batch's windows.

        A row does not depend on the other windows of the batch, beyond rounding. An error
        concerns the batch as a whole: the caller halves it to find the window that fails.

        Returns:
            Shape (windows, labels), rows in the order of the batch.

        Raises:
            OutOfMemory: The batch is too large.
            EngineUnavailable: The engine computes nothing at the moment.
            DeviceLost: This process cannot compute anything any more.
        """
        ...

    def predict_precisely(self, window: Window) -> list[float]:
        """Return a window's probabilities, computed in fp32 and without any optimisation.

        Raises:
            EngineUnavailable: The engine computes nothing at the moment.
            DeviceLost: This process cannot compute anything any more.
        """
        ...
