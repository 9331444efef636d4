"""What the files of a model say about it, read without loading the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

__all__ = ["DEFAULT_WINDOW_TOKENS", "configured_labels", "configured_window_tokens"]

#: Tokens of a window if a model's files name no limit.
DEFAULT_WINDOW_TOKENS: Final = 512

#: Where a model's files name the most tokens that it reads at once.
_WINDOW_LIMITS: Final = (
    ("tokenizer_config.json", "model_max_length"),
    ("config.json", "max_position_embeddings"),
)


def configured_labels(folder: Path) -> tuple[str, ...] | None:
    """Return the labels of a model, in the order of its outputs; None if its files name none."""
    labels = _read(folder / "config.json").get("id2label")
    return tuple(labels.values()) if isinstance(labels, dict) else None


def configured_window_tokens(folder: Path) -> int:
    """Return the most tokens that a model reads at once, `DEFAULT_WINDOW_TOKENS` at most."""
    limits = [_read(folder / file).get(key) for file, key in _WINDOW_LIMITS]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min([DEFAULT_WINDOW_TOKENS, *known])


def _read(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
