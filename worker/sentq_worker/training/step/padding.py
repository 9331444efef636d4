"""Rows of different lengths as one tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Padding"]


@dataclass(frozen=True, slots=True)
class Padding:
    """How rows of different lengths become one tensor."""

    token_id: int
    on_the_left: bool = False

    def tensors(
        self, rows: Sequence[Sequence[int]], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input_ids and attention_mask, both (rows, longest row) int64."""
        width = max(map(len, rows))
        token_ids, mask = [], []
        for row in rows:
            gap = width - len(row)
            filler, hidden, seen = [self.token_id] * gap, [0] * gap, [1] * len(row)
            token_ids.append([*filler, *row] if self.on_the_left else [*row, *filler])
            mask.append(hidden + seen if self.on_the_left else seen + hidden)
        return torch.tensor(token_ids, device=device), torch.tensor(mask, device=device)
