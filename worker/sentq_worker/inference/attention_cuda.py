"""Attention in a packed row on CUDA: torch's flash attention, one kernel for windows of any length.

    row      a a a b b b b b c           (T, heads, d)
    bounds   0     3         8 9         int32, on the device

If there is a query for each token, queries have the same bounds as keys. If there is one query for
each window, as in a last layer that works on first tokens, their bounds are 0 1 2 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch.nn.functional import pad

__all__ = ["VarlenAttention", "find_varlen"]


class VarlenAttention:
    """See `WindowAttention` in `packed`.

    Args:
        attend: `torch.nn.attention.varlen.varlen_attn`. Its kernel takes bf16 and fp16, heads of a
            multiple of 8 numbers and no more than 256, and GPUs from Ampere on; it raises on all
            else.
    """

    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        self._attend = attend

    def rounded_up(self, count: int) -> int:
        return count

    def prepare(self, lengths: Sequence[int], starts: torch.Tensor) -> _VarlenWindows:
        return _VarlenWindows(self._attend, lengths, starts)


class _VarlenWindows:
    """See `PackedWindows` in `packed`.

    Nothing is read back from the device: that would wait for all that it has yet to compute.
    """

    def __init__(
        self, attend: Callable[..., torch.Tensor], lengths: Sequence[int], starts: torch.Tensor
    ) -> None:
        self._attend = attend
        self._token_bounds = pad(starts, (0, 1), value=sum(lengths)).int()  # (n + 1,)
        self._window_bounds = torch.arange(
            len(lengths) + 1, dtype=torch.int32, device=starts.device
        )  # (n + 1,)
        self._longest = max(lengths)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        first_only: bool,
    ) -> torch.Tensor:
        return self._attend(
            *(states[0].transpose(0, 1) for states in (query, key, value)),  # (T, heads, d)
            self._window_bounds if first_only else self._token_bounds,
            self._token_bounds,
            1 if first_only else self._longest,
            self._longest,
            scale=scale,
        )


def find_varlen() -> VarlenAttention | None:
    """Return the attention of the installed torch; None if it has none (before 2.10)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except (ImportError, AttributeError):
        return None
    # It returns a pair only if `return_aux` asks for it.
    return VarlenAttention(cast("Callable[..., torch.Tensor]", varlen_attn))
