"""Matrix multiplication on a CPU: the library, and the dtype, that is faster on this processor.

MKL, which torch uses for fp32, runs at less than half speed on processors that are not Intel's:
100 GFLOPS beside oneDNN's 230 on one core of an EPYC. In bf16 torch uses oneDNN in any case, and
gains another 5% once the weights are in the order that its kernels read. bf16 is twice as fast as
fp32 on processors that multiply it (AVX512-BF16, AMX, SVE), and slower on others. So all of this is
measured at start, on the model's own shapes, in some tenths of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple

import torch
from torch import nn

__all__ = ["Kernel", "PrepackedLayers", "Way", "fastest", "time_kernels"]

#: The library that multiplies: torch's own choice, or oneDNN with its own order of weights.
Kernel = Literal["torch", "onednn"]


class Way(NamedTuple):
    """A way to multiply."""

    kernel: Kernel
    dtype: torch.dtype


#: Rows of the timed product: some short texts.
_TIMED_ROWS: Final = 256

#: Turns of the timing. With five, a worker that started beside other work chose the slower library
#: for its lifetime, at an eighth of the rate. A large model has fewer turns, because they are long.
_MIN_TURNS: Final = 5
_MAX_TURNS: Final = 15
_TURNS_S: Final = 0.3

#: How much faster fewer bits must be, and the least weights of the largest layer for which they are
#: considered: attention and smaller layers lose all that is gained.
_WORTH_ROUNDING: Final = 1.25
_WORTH_ROUNDING_WEIGHTS: Final = 1 << 17

#: The families' names of a linear layer and of the activation behind it.
_LINEAR_AND_ACTIVATION: Final = (("dense", "intermediate_act_fn"), ("lin1", "activation"))

#: The exact GELU of Transformers. By name, because a worker may not have imported Transformers.
_GELU_OF_TRANSFORMERS: Final = "transformers.activations.GELUActivation"


def time_kernels(model: nn.Module, dtypes: Sequence[torch.dtype]) -> dict[Way, float]:
    """Time the ways to multiply on the model's largest linear layer.

    Args:
        model: The model, on the CPU.
        dtypes: The dtypes to try. All but the first are left out if the layer is too small.

    Returns:
        The least time of each way, in seconds.
    """
    linears = _linears(model)
    if not linears:
        return {Way("torch", dtypes[0]): 0.0}
    parent, name, largest = max(linears, key=lambda each: each[2].weight.numel())
    has_gelu = _gelu_behind(parent, name) is not None
    if largest.weight.numel() < _WORTH_ROUNDING_WEIGHTS:
        dtypes = dtypes[:1]
    with torch.inference_mode():
        products = {
            Way(kernel, dtype): product
            for dtype in dtypes
            for kernel, product in _products(largest, dtype, has_gelu=has_gelu)
        }
        # In turns, so that a busy machine slows down all of them.
        times_s: list[dict[Way, float]] = []
        until_s = time.monotonic() + _TURNS_S
        while len(times_s) < _MIN_TURNS or (
            len(times_s) < _MAX_TURNS and time.monotonic() < until_s
        ):
            times_s.append({way: _time_s(product) for way, product in products.items()})
    return {way: min(each[way] for each in times_s) for way in products}


def fastest(times_s: Mapping[Way, float], usual: torch.dtype) -> Way:
    """Return the fastest way. Another dtype than the usual one must be clearly faster."""

    def handicapped_s(way: Way) -> float:
        return times_s[way] * (1.0 if way.dtype is usual else _WORTH_ROUNDING)

    return min(times_s, key=handicapped_s)


def _products(
    like: nn.Linear, dtype: torch.dtype, *, has_gelu: bool
) -> list[tuple[Kernel, Callable[[], object]]]:
    """Return each kernel's product of a layer of this shape, with the activation behind it."""
    linear = nn.Linear(like.in_features, like.out_features, dtype=dtype)
    usual = nn.Sequential(linear, nn.GELU()) if has_gelu else linear
    states = torch.randn(_TIMED_ROWS, like.in_features, dtype=dtype)
    products: list[tuple[Kernel, Callable[[], object]]] = [("torch", partial(usual, states))]
    try:
        prepacked = PrepackedLinear(linear, then="gelu" if has_gelu else "none")
        prepacked(states)
    except (AttributeError, RuntimeError):  # another torch, or one without oneDNN
        return products
    return [*products, ("onednn", partial(prepacked, states))]


def _time_s(product: Callable[[], object]) -> float:
    started = time.perf_counter()
    product()
    return time.perf_counter() - started


class PrepackedLinear(nn.Module):
    """`nn.Linear` with its weights in the order that oneDNN's kernels read.

    Args:
        linear: The layer, on the CPU. Its weights are copied.
        then: The function that is applied while the product is in registers: "none" or "gelu".
    """

    def __init__(self, linear: nn.Linear, *, then: str = "none") -> None:
        super().__init__()
        # The operators that torch's own compiler calls for frozen weights.
        reorder: Callable[..., torch.Tensor] = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
        self._multiply: Callable[..., torch.Tensor] = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        self._weight = reorder(linear.weight.detach())
        self._bias: torch.Tensor | None = linear.bias
        self._then = then

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """See `nn.Linear.forward`."""
        return self._multiply(states, self._weight, self._bias, self._then, [], "none")


class PrepackedLayers:
    """Replaces the linear layers of a model by prepacked ones; `undo` restores them."""

    def __init__(self, model: nn.Module) -> None:
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        for parent, name, linear in _linears(model):
            activation = _gelu_behind(parent, name)
            self._replace(
                parent, name, PrepackedLinear(linear, then="gelu" if activation else "none")
            )
            if activation:
                self._replace(parent, activation, nn.Identity())

    def undo(self) -> None:
        """Restore the model."""
        for parent, name, module in self._replaced:
            setattr(parent, name, module)

    def _replace(self, parent: nn.Module, name: str, by: nn.Module) -> None:
        self._replaced.append((parent, name, getattr(parent, name)))
        setattr(parent, name, by)


def _linears(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Return the linear layers of the model's repeated layers, with their parents and names."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    # Each parent once: a list may contain another list.
    parents = dict.fromkeys(parent for layers in lists for parent in layers.modules())
    return [
        (parent, name, child)
        for parent in parents
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and type(child).forward is nn.Linear.forward
    ]


def _gelu_behind(parent: nn.Module, linear: str) -> str | None:
    """Return the name of the exact GELU that follows, which oneDNN computes with the product."""
    for linear_name, activation_name in _LINEAR_AND_ACTIVATION:
        activation = getattr(parent, activation_name, None)
        if linear == linear_name and _is_exact_gelu(activation):
            return activation_name
    return None


def _is_exact_gelu(activation: object) -> bool:
    if isinstance(activation, nn.GELU):
        return activation.approximate == "none"
    found = type(activation)
    return f"{found.__module__}.{found.__qualname__}" == _GELU_OF_TRANSFORMERS
