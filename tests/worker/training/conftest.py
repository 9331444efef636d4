"""What the tests of training share: one CPU thread, and a tiny model to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.models.tiny import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one CPU thread: equal sums need equal threads. The number before is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")
