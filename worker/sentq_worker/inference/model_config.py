"""What the files of a model say about it, read without loading the model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import yaml

__all__ = [
    "DEFAULT_WINDOW_TOKENS",
    "configured_labels",
    "configured_window_tokens",
    "stated_languages",
]

#: Tokens of a window if a model's files name no limit.
DEFAULT_WINDOW_TOKENS: Final = 512

#: Where a model's files name the most tokens that it reads at once.
_WINDOW_LIMITS: Final = (
    ("tokenizer_config.json", "model_max_length"),
    ("config.json", "max_position_embeddings"),
)

#: The most characters of a model card that are read for its metadata.
_MAX_CARD_CHARS: Final = 64 * 1024

#: The metadata of a model card, between two lines of hyphens at its beginning.
_METADATA: Final = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)

#: A code of ISO 639, with a script or region that may follow it.
_LANGUAGE: Final = re.compile(r"([a-z]{2,3})(?:[-_].*)?")


def configured_labels(folder: Path) -> tuple[str, ...] | None:
    """Return the labels of a model, in the order of its outputs; None if its files name none."""
    labels = _read(folder / "config.json").get("id2label")
    return tuple(labels.values()) if isinstance(labels, dict) else None


def configured_window_tokens(folder: Path) -> int:
    """Return the most tokens that a model reads at once, `DEFAULT_WINDOW_TOKENS` at most."""
    limits = [_read(folder / file).get(key) for file, key in _WINDOW_LIMITS]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min([DEFAULT_WINDOW_TOKENS, *known])


def stated_languages(folder: Path) -> tuple[str, ...] | None:
    """Return the codes of the languages that a model's card (README.md) names.

    None if it names none, or something that is no code, such as `multilingual`: then the list says
    nothing about other languages.
    """
    named = _metadata(folder / "README.md").get("language")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names:
        return None
    codes = [_LANGUAGE.fullmatch(str(name).lower()) for name in names]
    known = tuple(dict.fromkeys(code[1] for code in codes if code))
    return known if all(codes) else None


def _metadata(card: Path) -> dict[str, object]:
    try:
        with card.open(encoding="utf-8") as file:
            found = _METADATA.match(file.read(_MAX_CARD_CHARS))
        # Without types: the code of Norwegian, "no", would be read as false.
        document = yaml.load(found[1], Loader=yaml.BaseLoader) if found else None  # noqa: S506
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _read(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
