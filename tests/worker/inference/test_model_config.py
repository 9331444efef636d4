"""What the files of a model say about it, also if they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq_worker.inference.model_config import (
    DEFAULT_WINDOW_TOKENS,
    configured_labels,
    configured_window_tokens,
    stated_languages,
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


@pytest.mark.parametrize(
    ("metadata", "languages"),
    [
        ("language: en", ("en",)),
        ("language:\n- pt-BR\n- zh_Hans\n- no\n- pt", ("pt", "zh", "no")),
        ("license: mit", None),
        ("language: multilingual", None),
        ("language:\n- en\n- multilingual", None),
        ("language: []", None),
        ("language: {en: 1}", None),
        ("language: [en", None),
        (f"language: {'[' * 20_000}", None),
        (f"language: en{'_a' * 20_000}!", ("en",)),
    ],
)
def test_a_card_states_its_languages_by_their_codes(
    metadata: str, languages: tuple[str, ...] | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n\n# A model\n", encoding="utf-8")
    assert stated_languages(tmp_path) == languages


def test_a_model_without_card_or_metadata_states_no_languages(tmp_path: Path) -> None:
    assert stated_languages(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"# A model\n\nlanguage: en\n\xff")
    assert stated_languages(tmp_path) is None
