"""Fixtures of the training tests: one CPU thread, and a tiny base model."""

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
    """Use one CPU thread, because sums depend on their number; restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")
