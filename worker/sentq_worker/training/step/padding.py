"""Padding of rows to one tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Padding"]


@dataclass(frozen=True, slots=True)
class Padding:
    """Pads rows of different lengths with `token_id`, on the right or on the left."""

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
            padding, masked, kept = [self.token_id] * gap, [0] * gap, [1] * len(row)
            token_ids.append([*padding, *row] if self.on_the_left else [*row, *padding])
            mask.append(masked + kept if self.on_the_left else kept + masked)
        return torch.tensor(token_ids, device=device), torch.tensor(mask, device=device)
