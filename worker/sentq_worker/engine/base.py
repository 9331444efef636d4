"""What an engine promises, and how it fails.

EngineError
├── ModelUnavailable     the model cannot be found, fetched or accepted; start is refused
│   └── HubRefused       the Hub refuses the token or the model
├── DeviceUnavailable    the configured device is not there, or broke on trial; start is refused
├── OutOfMemory          a batch was too large; a smaller one may pass
├── EngineUnavailable    nothing can be computed for the moment; later it may
└── DeviceLost           the device answers no longer; only a new process may have it again
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
    """Base of what engines raise of their own."""


class ModelUnavailable(EngineError):
    """The model cannot be had. The message says what to set or to install."""


class HubRefused(ModelUnavailable):
    """The Hub refuses the token, or to score with this model; so it will until the settings, or
    its account's rights, are changed."""


class DeviceUnavailable(EngineError):
    """The configured device is not there, or broke while it was tried. The message says what to
    set."""


class OutOfMemory(EngineError):
    """A batch did not fit in memory. What it had taken is free again."""


class EngineUnavailable(EngineError):
    """Nothing can be computed for the moment, and no batch is to blame. The jobs wait; trying
    again makes sense after `retry_after_s` seconds, where the engine can tell."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeviceLost(EngineError):
    """The device answers no longer: its driver failed, or a kernel ended its context.

    Whoever catches it acknowledges nothing and ends the process.
    """


@dataclass(frozen=True, slots=True)
class Window:
    """What a model reads at once: a text, or a part of one.

    `token_ids` holds the model's special tokens too; `own_tokens` counts without them.
    """

    token_ids: list[int]
    own_tokens: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who answers. Stands in every outcome."""

    model: str
    revision: str | None
    backend: str
    dtype: str
    #: The model's own labels, in the order of its outputs.
    labels: tuple[str, ...]


class Engine(Protocol):
    """Scores windows. Used by one thread at a time."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def pads(self) -> bool:
        """Whether a batch costs as much as if all its windows were as long as the longest."""
        ...

    def predict(self, batch: Sequence[Window]) -> list[list[float]]:
        """Probabilities, shape (windows, labels), rows in the order of the batch.

        A row does not depend on what else is in the batch, beyond rounding. Whatever this
        raises concerns the batch as a whole: the caller halves it to find the culprit.

        Raises:
            OutOfMemory: The batch is too large.
            EngineUnavailable: Nothing can be computed for the moment.
            DeviceLost: Nothing can be computed any more.
        """
        ...

    def predict_precisely(self, window: Window) -> list[float]:
        """One window's probabilities in fp32, in the plainest way there is, however slow.

        Raises:
            EngineUnavailable: Nothing can be computed for the moment.
            DeviceLost: Nothing can be computed any more.
        """
        ...
