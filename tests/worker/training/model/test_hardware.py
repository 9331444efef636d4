"""The choice of the device."""

from __future__ import annotations

import pytest

from sentq_worker.training.errors import TrainingOptionsError
from sentq_worker.training.model.hardware import resolve_device


def test_a_missing_device_is_rejected() -> None:
    with pytest.raises(TrainingOptionsError, match="--device warp"):
        resolve_device("warp")
