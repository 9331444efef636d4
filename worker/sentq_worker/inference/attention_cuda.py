"""Attention in a packed row on CUDA: torch's flash attention, one kernel for windows of any length.

    row      a a a b b b b b c           (T, heads, d)
    bounds   0     3         8 9         int32, on the device

A query a token has the same bounds as keys; a query a window, as in a last layer that works on
first tokens, has 0 1 2 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

__all__ = ["Varlen", "find_varlen"]


class Varlen:
    """See `Attention` in `packed`.

    Args:
        attend: `torch.nn.attention.varlen.varlen_attn`. The kernel behind it takes bf16 and fp16,
            heads of a multiple of 8 numbers and no more than 256, and GPUs from Ampere on; it
            raises on all else.
    """

    def __init__(self, attend: Callable[..., Any]) -> None:
        self._attend = attend

    def filled(self, count: int) -> int:
        return count

    def windows(self, lengths: Sequence[int], begins: torch.Tensor) -> _Bounds:
        return _Bounds(self._attend, lengths, begins)


class _Bounds:
    """See `Windows` in `packed`.

    Nothing is read back from the device: that would wait for all that it has yet to compute.
    """

    def __init__(
        self, attend: Callable[..., Any], lengths: Sequence[int], begins: torch.Tensor
    ) -> None:
        self._attend = attend
        self._of_tokens = pad(begins, (0, 1), value=sum(lengths)).int()  # (n + 1,)
        self._of_firsts = torch.arange(
            len(lengths) + 1, dtype=torch.int32, device=begins.device
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
        attended: torch.Tensor = self._attend(
            *(states[0].transpose(0, 1) for states in (query, key, value)),  # (T, heads, d)
            self._of_firsts if first_only else self._of_tokens,
            self._of_tokens,
            1 if first_only else self._longest,
            self._longest,
            scale=scale,
        )
        return attended


def find_varlen() -> Varlen | None:
    """The installed torch's, if it has one: those before 2.10 do not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except (ImportError, AttributeError):
        return None
    return Varlen(varlen_attn)
