"""Attention in a packed row on a CPU: one call for each group of windows of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from sentq_worker.inference.attention_cpu import attend

__all__ = ["Grouped"]

#: Rows are filled up to a multiple of the first number, longer ones to one of the second. For
#: each new count oneDNN makes its kernels anew: 0.25 to 0.6 ms a shape of weights, beside
#: 0.4 to 1.2 ms for the product itself (400 tokens, bf16).
_ROW_STEP: Final = 16
_LONG_ROW_STEP: Final = 64
_LONG_ROW: Final = 512


@dataclass(frozen=True, slots=True)
class _Group:
    """Windows of equal length: tokens `begin` to `end` of the row, windows `first` to `last`."""

    begin: int
    end: int
    first: int
    last: int


class Grouped:
    """See `Attention` in `packed`."""

    def filled(self, count: int) -> int:
        step = _ROW_STEP if count <= _LONG_ROW else _LONG_ROW_STEP
        return -(-count // step) * step

    def windows(self, lengths: Sequence[int], begins: torch.Tensor) -> _Groups:  # noqa: ARG002 - a kernel may need it
        groups: list[_Group] = []
        position = 0
        for index, length in enumerate(lengths):
            if not index or length != lengths[index - 1]:
                groups.append(_Group(position, position + length, index, index + 1))
            else:
                first = groups[-1]
                groups[-1] = _Group(first.begin, position + length, first.first, index + 1)
            position += length
        return _Groups(groups)


class _Groups:
    """See `Windows` in `packed`."""

    def __init__(self, groups: list[_Group]) -> None:
        self._groups = groups

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        first_only: bool,
    ) -> torch.Tensor:
        spans = [
            (group.first, group.last) if first_only else (group.begin, group.end)
            for group in self._groups
        ]
        attended = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
        for group, (begin, end) in zip(self._groups, spans, strict=True):
            attend(
                query[:, :, begin:end],
                key[:, :, group.begin : group.end],
                value[:, :, group.begin : group.end],
                windows=group.last - group.first,
                scale=scale,
                out=attended[begin:end],
            )
        attended[spans[-1][1] :] = 0  # filling
        return attended
