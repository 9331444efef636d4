"""Where a family counts its positions from.

RoBERTa and its relatives number the tokens from behind the padding token's own number, and
give that number to every padding token, also to one that a text spells out.
"""

from __future__ import annotations

from typing import Any, Final

import torch

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


def first_position(config: Any) -> int:
    """The position of a window's first token."""
    return _padding_position(config) + 1 if config.model_type in _OFFSET_FAMILIES else 0


def packed_positions(config: Any, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Positions that start again with each window.

    Args:
        ids: The windows' tokens one after another, shape (T,).
        lengths: Tokens of each window, shape (n,).
    """
    begins = lengths.cumsum(0) - lengths  # (n,)
    if config.model_type not in _OFFSET_FAMILIES:
        return torch.arange(len(ids)) - begins.repeat_interleave(lengths)
    padding = _padding_position(config)
    counts = ids.ne(padding).long()  # (T,)
    counted = counts.cumsum(0)
    before = (counted - counts)[begins].repeat_interleave(lengths)
    return (counted - before) * counts + padding


def _padding_position(config: Any) -> int:
    return config.pad_token_id or 0
