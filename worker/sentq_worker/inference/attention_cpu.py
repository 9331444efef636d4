"""Attention in a packed row on a CPU: one call for each group of windows of equal length.

A softmax searches for the largest product first and subtracts it, so that its powers do not
overflow. Here the powers are computed at once. Only if they overflowed, or came near to zero, the
softmax is computed in the usual way. This is 2 to 4 times as fast as torch's softmax, and as its
fused attention, whose bf16 on a CPU is MKL's. Measured on one core, 12 heads of 32, in
microseconds:

                   here   softmax  fused
 20 x 24    bf16    229     735     945
            fp32    292     390     671
  2 x 128   bf16    274     414     866
            fp32    581    1763     709
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

__all__ = ["GroupedAttention", "attend"]

#: Rows are rounded up to a multiple of the first number, long rows to a multiple of the second.
#: For each new count oneDNN makes its kernels again: 0.25 to 0.6 ms for each shape of weights,
#: beside 0.4 to 1.2 ms for the product itself (400 tokens, bf16).
_ROW_STEP: Final = 16
_LONG_ROW_STEP: Final = 64
_LONG_ROW: Final = 512

#: Attention weights that are computed at a time. They stay in the cache: 4 windows of 512 tokens
#: take 11 ms instead of 34 in bf16.
_WEIGHTS_AT_A_TIME: Final = 1 << 20

#: A window of fewer weights is computed in fp32 if the states are in bf16: for each new count of
#: windows and of their tokens oneDNN makes kernels again, in some 0.5 ms, and in a stream most are
#: new. This gives 30% more texts a second in batches of 100. It is decided by the window and not
#: by the group, so that a window's scores do not depend on the other windows.
_WORTH_A_KERNEL: Final = 1 << 17

#: Long windows are padded to a multiple of this, for the same reason: a model of 512 tokens and 12
#: heads needs some 50 kernels, and soon has all of them.
_KERNEL_STEP: Final = 16

#: Weights with a smaller sum have lost digits to the smallest number that a float holds.
_MIN_TOTAL: Final = 1e-30

_LOG2_E: Final = math.log2(math.e)


@dataclass(frozen=True, slots=True)
class _Group:
    """Windows of equal length: tokens `start` to `end` of the row, windows `first` to `last`."""

    start: int
    end: int
    first: int
    last: int


class GroupedAttention:
    """See `WindowAttention` in `packed`."""

    def rounded_up(self, count: int) -> int:
        step = _ROW_STEP if count <= _LONG_ROW else _LONG_ROW_STEP
        return -(-count // step) * step

    def prepare(self, lengths: Sequence[int], starts: torch.Tensor) -> _GroupedWindows:  # noqa: ARG002 - the kernel of CUDA needs it
        groups: list[_Group] = []
        position = 0
        for index, length in enumerate(lengths):
            end = position + length
            if index and length == lengths[index - 1]:
                same = groups[-1]
                groups[-1] = _Group(same.start, end, same.first, index + 1)
            else:
                groups.append(_Group(position, end, index, index + 1))
            position = end
        return _GroupedWindows(groups)


class _GroupedWindows:
    """See `PackedWindows` in `packed`."""

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
            (group.first, group.last) if first_only else (group.start, group.end)
            for group in self._groups
        ]
        attended = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
        for group, (start, end) in zip(self._groups, spans, strict=True):
            attend(
                query[:, :, start:end],
                key[:, :, group.start : group.end],
                value[:, :, group.start : group.end],
                windows=group.last - group.first,
                scale=scale,
                out=attended[start:end],
            )
        attended[spans[-1][1] :] = 0  # the tokens that round up the row
        return attended


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    windows: int,
    scale: float,
    out: torch.Tensor,
) -> None:
    """Compute the attention within each of several windows of equal length L.

    Args:
        query: Shape (1, heads, windows * queries, d): one query a window, or one a token.
        key: Shape (1, heads, windows * L, d).
        value: As `key`.
        windows: The number of windows.
        scale: The factor of the products.
        out: The result is written to it, shape (windows * queries, heads, d).
    """
    heads, tokens = key.shape[1], key.shape[2] // windows
    weights = heads * query.shape[2] * tokens // windows  # of a window
    if query.dtype is not torch.float32 and weights >= _WORTH_A_KERNEL:
        dtype, padded = query.dtype, -(-tokens // _KERNEL_STEP) * _KERNEL_STEP
        # One window, and a fixed share of its heads, at a time: one kernel for this length.
        chunks = windows * _shares(heads, weights)
    else:
        dtype, padded = torch.float32, tokens
        chunks = -(-windows * weights // _WEIGHTS_AT_A_TIME)
    queries, keys, values = (
        _rows(states, windows, padded - tokens, dtype) for states in (query, key, value)
    )  # (windows * heads, L and padding, d)
    attended = [
        _attend(some_queries, some_keys, some_values, scale, tokens)
        for some_queries, some_keys, some_values in zip(
            queries.chunk(chunks), keys.chunk(chunks), values.chunk(chunks), strict=True
        )
    ]
    whole = attended[0] if len(attended) == 1 else torch.cat(attended)
    by_head = whole.view(windows, heads, *whole.shape[1:])  # (windows, heads, L and padding, d)
    by_token = by_head[:, :, : query.shape[2] // windows].transpose(1, 2)
    out.view(windows, -1, *out.shape[1:]).copy_(by_token)


def _shares(heads: int, weights: int) -> int:
    """Return how many equal shares a window's heads form so that the weights of each fit."""
    shares = (share for share in range(1, heads + 1) if heads % share == 0)
    return next((share for share in shares if weights <= share * _WEIGHTS_AT_A_TIME), heads)


def _rows(states: torch.Tensor, windows: int, padding: int, dtype: torch.dtype) -> torch.Tensor:
    """Copy states to one row for each window and head, with zeros as padding.

    From (1, heads, windows * L, d) to (windows * heads, L + padding, d).
    """
    by_window = _by_window(states, windows)
    if not padding:
        return by_window.to(dtype, memory_format=torch.contiguous_format).flatten(0, 1)
    _, heads, tokens, width = by_window.shape
    rows = by_window.new_zeros(windows, heads, tokens + padding, width, dtype=dtype)
    rows[:, :, :tokens] = by_window
    return rows.flatten(0, 1)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, tokens: int
) -> torch.Tensor:
    """Compute attention, each argument of shape (rows, L, d). Padding follows `tokens`."""
    weights = _products(query, key, scale * _LOG2_E).exp2_()
    totals = weights[..., :tokens].sum(-1, keepdim=True)
    least, most = (each.item() for each in totals.aminmax())
    if least > _MIN_TOTAL and most < math.inf:  # false for NaN too
        return torch.bmm(weights, value).div_(totals)
    # Seven of a thousand groups of the bundled model: some of their products exceed 88.
    weights = _products(query, key, scale)[..., :tokens].softmax(-1)
    return torch.bmm(weights, value[:, :tokens])


def _products(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.baddbmm(query.new_empty(1), query, key.mT, beta=0, alpha=scale)


def _by_window(states: torch.Tensor, windows: int) -> torch.Tensor:
    """View (1, heads, windows * L, d) as (windows, heads, L, d), without a copy."""
    _, heads, tokens, width = states.shape
    return states.view(heads, windows, tokens // windows, width).transpose(0, 1)
