"""Matrix multiplication: the same product with each library."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from sentq_worker.inference.trials import kernels
from sentq_worker.inference.trials.kernels import PrepackedLayers, Way, fastest, time_kernels


class _Block(nn.Module):
    """A linear layer and its activation, called as BERT calls them."""

    def __init__(self, activation: str, *, bias: bool = True) -> None:
        super().__init__()
        self.dense = nn.Linear(48, 96, bias=bias)
        self.intermediate_act_fn = ACT2FN[activation]

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.intermediate_act_fn(self.dense(states))
        return activated


class _Model(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 16, 300])
def test_prepacked_layers_give_the_same_product_and_can_be_restored(
    activation: str, *, bias: bool, rows: int
) -> None:
    block = _Block(activation, bias=bias)
    states = torch.randn(2, rows, 48)
    with torch.inference_mode():
        expected = block(states)
        prepacked = PrepackedLayers(_Model(block))
        assert type(block.dense) is not nn.Linear
        assert torch.allclose(block(states), expected, atol=1e-5)
        prepacked.undo()
        assert type(block.dense) is nn.Linear
        assert torch.equal(block(states), expected)


def test_layers_in_nested_lists_are_replaced_once() -> None:
    block = _Block("gelu")
    outer = _Model(_Model(block))
    PrepackedLayers(outer).undo()
    assert type(block.dense) is nn.Linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_configured_dtype_is_used(dtype: torch.dtype) -> None:
    times_s = time_kernels(_Model(_Block("gelu")), [dtype])
    assert Way("torch", dtype) in times_s
    assert all(way.dtype is dtype and time_s > 0 for way, time_s in times_s.items())


class _Clock:
    """Reports this ratio of the times of a product in bf16 and in fp32."""

    def __init__(self, share: float) -> None:
        self._share = share

    def time_s(self, trial: Callable[[], object]) -> float:
        product = trial()
        assert isinstance(product, torch.Tensor)
        return self._share if product.dtype is torch.bfloat16 else 1.0


@pytest.mark.parametrize(
    ("share", "width", "expected"),
    [
        (0.5, 512, torch.bfloat16),
        (0.9, 512, torch.float32),  # too little gain for its rounding
        (2.0, 512, torch.float32),  # bf16 emulated in software
        (0.5, 48, torch.float32),  # a model too small to gain
    ],
)
def test_bf16_is_used_where_it_is_clearly_faster(
    share: float, width: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_time_s", _Clock(share).time_s)
    times_s = time_kernels(_Model(nn.Linear(width, width)), [torch.float32, torch.bfloat16])
    assert fastest(times_s, torch.float32).dtype is expected


def test_torch_kernels_are_used_without_linear_layers_or_without_onednn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [torch.float32, torch.bfloat16]
    assert [*time_kernels(_Model(), both)] == [Way("torch", torch.float32)]

    def missing(*_: object, **__: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(kernels, "PrepackedLinear", missing)
    assert [*time_kernels(_Model(_Block("gelu")), both)] == [Way("torch", torch.float32)]
