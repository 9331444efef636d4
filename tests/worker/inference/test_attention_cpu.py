"""Attention on the CPU: equal to torch's, also where exponentials overflow or underflow."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from sentq_worker.inference import attention_cpu as attention
from sentq_worker.inference.attention_cpu import attend

_WINDOWS, _HEADS, _TOKENS, _WIDTH = 5, 4, 17, 8


def _states(seed: int) -> torch.Tensor:
    """Return states as a model has them: (1, heads, T, d), as a transposed view."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.randn(1, _WINDOWS * _TOKENS, _HEADS, _WIDTH).transpose(1, 2)


def _expected(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    queries, keys, values = (each.double().chunk(_WINDOWS, dim=2) for each in (query, key, value))
    attended = [
        scaled_dot_product_attention(q, k, v, scale=scale)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(attended, dim=2)[0].transpose(0, 1)  # (T, heads, d)


@pytest.mark.parametrize("scale", [0.35, 300.0])
@pytest.mark.parametrize("shift", [0.0, -200.0])
@pytest.mark.parametrize("at_a_time", [1 << 20, 1000])
def test_attention_is_exact_for_products_of_any_size(
    scale: float, shift: float, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_WEIGHTS_AT_A_TIME", at_a_time)
    query, key, value = (_states(seed) for seed in range(3))
    # Equal for all keys of a query: it changes all products and no attention weight.
    query[..., -1] = 1.0
    key[..., -1] = shift / scale
    assert torch.allclose(
        _attended(query, key, value, scale), _expected(query, key, value, scale), atol=1e-4
    )


def test_attention_in_bf16_is_close_to_fp32() -> None:
    query, key, value = (_states(seed).bfloat16() for seed in range(3))
    assert torch.allclose(
        _attended(query, key, value, 0.35), _expected(query, key, value, 0.35), atol=0.05
    )


@pytest.mark.parametrize("scale", [0.35, 300.0])
@pytest.mark.parametrize("at_a_time", [1 << 20, 600])
def test_padded_windows_in_bf16_are_close_to_fp32(
    scale: float, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_WORTH_A_KERNEL", 1)
    monkeypatch.setattr(attention, "_WEIGHTS_AT_A_TIME", at_a_time)
    query, key, value = (_states(seed).bfloat16() for seed in range(3))
    attended = _attended(query, key, value, scale)
    # At this scale one of two close products dominates, and bf16 cannot always tell them apart.
    near = (attended - _expected(query, key, value, scale)).abs() < 0.05
    assert near.float().mean() > (0.999 if scale < 1 else 0.9)


def test_a_window_in_bf16_does_not_depend_on_other_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORTH_A_KERNEL", 1)
    query, key, value = (_states(seed).bfloat16() for seed in range(3))
    together = _attended(query, key, value, 0.35)
    alone = torch.empty(_TOKENS, _HEADS, _WIDTH, dtype=torch.bfloat16)
    query, key, value = (each[:, :, :_TOKENS] for each in (query, key, value))
    attend(query, key, value, windows=1, scale=0.35, out=alone)
    assert torch.equal(alone.double(), together[:_TOKENS])


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    out = torch.empty(_WINDOWS * _TOKENS, _HEADS, _WIDTH, dtype=query.dtype)
    attend(query, key, value, windows=_WINDOWS, scale=scale, out=out)
    return out.double()


def test_a_single_query_per_window_attends_to_all_tokens() -> None:
    query, key, value = (_states(seed) for seed in range(3))
    first = query[:, :, ::_TOKENS].contiguous()
    out = torch.empty(_WINDOWS, _HEADS, _WIDTH)
    attend(first, key, value, windows=_WINDOWS, scale=0.35, out=out)
    expected = _expected(query, key, value, 0.35)[::_TOKENS]
    assert torch.allclose(out.double(), expected, atol=1e-5)
