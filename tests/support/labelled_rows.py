"""Labelled rows for trainings: sentences in which one word determines the label."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.models.tiny import LABELS

__all__ = ["separable_rows", "write_rows"]

_CUES: Final = {
    "negative": ("bad", "awful", "poor", "nasty"),
    "neutral": ("table", "paper", "tuesday", "window"),
    "positive": ("good", "great", "fine", "nice"),
}
_FILLERS: Final = ("the", "movie", "was", "this", "hotel", "food", "day", "so", "very", "it")


def separable_rows(count: int, *, seed: int) -> list[dict[str, Any]]:
    """Return sentences in which one word determines the label."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        label = chance.choice(LABELS)
        words = chance.choices(_FILLERS, k=chance.randint(1, 12))
        words.insert(chance.randrange(len(words) + 1), chance.choice(_CUES[label]))
        rows.append({"text": " ".join(words), "label": label})
    return rows


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """Write rows as JSON lines, compressed where the name ends with `.gz`."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
