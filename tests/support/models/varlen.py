"""A stand-in for torch's variable-length attention, whose kernels run only on CUDA."""

from __future__ import annotations

import inspect
from itertools import pairwise

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["standin_varlen_attn"]

_SIGNATURE = inspect.signature(varlen_attn)


def standin_varlen_attn(*args: object, **options: object) -> torch.Tensor:
    """Compute the attention of each segment in fp32, with the checks of torch's kernel."""
    return _attended(**_SIGNATURE.bind(*args, **options).arguments)


def _attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
) -> torch.Tensor:
    for states in (query, key, value):
        assert states.dtype is query.dtype
        assert states.dtype in {torch.bfloat16, torch.float16}
        assert states.stride(-1) == 1
        assert states.shape[1:] == query.shape[1:]
        assert states.shape[2] % 8 == 0
        assert states.shape[2] <= 256
    assert key.shape == value.shape
    queries, keys = _bounds(query, cu_seq_q, max_q), _bounds(key, cu_seq_k, max_k)
    segments = [
        scaled_dot_product_attention(
            _heads(query, of_query), _heads(key, of_key), _heads(value, of_key), scale=scale
        ).transpose(0, 1)
        for of_query, of_key in zip(queries, keys, strict=True)
    ]
    return torch.cat(segments).to(query.dtype)


def _heads(states: torch.Tensor, bounds: tuple[int, int]) -> torch.Tensor:
    """Return a segment, (heads, L, d)."""
    return states[bounds[0] : bounds[1]].float().transpose(0, 1)


def _bounds(states: torch.Tensor, cu_seq: torch.Tensor, longest: int) -> list[tuple[int, int]]:
    """Return the begin and end of each segment."""
    assert cu_seq.dtype is torch.int32
    assert cu_seq.is_contiguous()
    assert cu_seq.device == states.device
    marks: list[int] = cu_seq.tolist()
    bounds = list(pairwise(marks))
    assert type(longest) is int
    assert longest == max(end - begin for begin, end in bounds)
    assert all(begin < end for begin, end in bounds)
    assert (marks[0], marks[-1]) == (0, len(states))
    return bounds
