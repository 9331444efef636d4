"""The reference implementation: the sentiment pipeline of Transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers

__all__ = ["pipeline_scores"]


def pipeline_scores(model: Path | str, texts: Sequence[str]) -> list[dict[str, float]]:
    """Return the probability of each label per text, from Transformers' `pipeline`."""
    make: Any = transformers.pipeline
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify = make("sentiment-analysis", model=str(model), top_k=None)
        return [{row["label"]: row["score"] for row in rows} for rows in classify(list(texts))]
