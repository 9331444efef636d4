"""What the files of a model say about it, also if they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq_worker.inference.model_config import (
    DEFAULT_WINDOW_TOKENS,
    configured_labels,
    configured_window_tokens,
)
from tests.support.models.tiny import LABELS


def test_labels_and_windows_are_those_of_the_files(tiny_model: Path) -> None:
    assert configured_labels(tiny_model) == LABELS
    assert configured_window_tokens(tiny_model) == 64


@pytest.mark.parametrize(
    "config", ["", "[]", '{"id2label": [1]}', '{"max_position_embeddings": 0}']
)
def test_files_that_say_nothing_give_defaults(config: str, tmp_path: Path) -> None:
    assert configured_labels(tmp_path) is None
    assert configured_window_tokens(tmp_path) == DEFAULT_WINDOW_TOKENS
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert configured_labels(tmp_path) is None
    assert configured_window_tokens(tmp_path) == DEFAULT_WINDOW_TOKENS
