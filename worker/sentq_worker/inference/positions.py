"""The number of a window's first position, which depends on the family of the model.

RoBERTa and its relatives number the tokens from behind the padding token's own number. They give
that number to every padding token, also to one that a text spells out.
"""

from __future__ import annotations

from typing import Final

import torch

from sentq_worker.inference.classifier import ClassifierConfig

__all__ = ["first_position", "packed_positions"]

_OFFSET_FAMILIES: Final = {
    "camembert",
    "data2vec-text",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
}


def first_position(config: ClassifierConfig) -> int:
    """Return the position of a window's first token."""
    return _padding_position(config) + 1 if config.model_type in _OFFSET_FAMILIES else 0


def packed_positions(
    config: ClassifierConfig, ids: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Return positions that begin again with each window, shape (T,).

    Args:
        config: The model's configuration.
        ids: The windows' tokens one after another, shape (T,).
        lengths: The tokens of each window, shape (n,).
    """
    starts = lengths.cumsum(0) - lengths  # (n,)
    if config.model_type not in _OFFSET_FAMILIES:
        return torch.arange(len(ids)) - starts.repeat_interleave(lengths)
    padding = _padding_position(config)
    counts = ids.ne(padding).long()  # (T,)
    counted = counts.cumsum(0)
    before = (counted - counts)[starts].repeat_interleave(lengths)
    return (counted - before) * counts + padding


def _padding_position(config: ClassifierConfig) -> int:
    return config.pad_token_id or 0
