"""Checkpoints on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sentq_worker.training.errors import CheckpointError
from sentq_worker.training.loop.checkpoint import CheckpointStore

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_save_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint", {})
    store.save({"step": 1})
    (tmp_path / "checkpoint" / "state.pt.partial").mkdir()
    with pytest.raises(CheckpointError, match="Free disk space"):
        store.save({"step": 2})
    assert store.load() == {"options": {}, "step": 1}
