"""Matrix multiplication on a CPU: whichever library, and dtype, is faster on this processor.

MKL, which torch uses for fp32, runs at less than half speed on processors that are not Intel's:
100 GFLOPS beside oneDNN's 230 on one core of an EPYC. In bf16 oneDNN is at work either way, and
gains another 5% once the weights lie in the order that its kernels read. bf16 is twice as fast
as fp32 where the processor multiplies it (AVX512-BF16, AMX, SVE), and slower where it does not. So
all of this is measured at start, on the model's own shapes, in some tenths of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import nn
from transformers.activations import GELUActivation

__all__ = ["Kernel", "Prepacked", "choose_kernel"]

#: What multiplies: torch's own choice, or oneDNN with its own order of weights.
Kernel = Literal["torch", "onednn"]

#: Rows of the trial: some short texts.
_TRIAL_TOKENS: Final = 256

#: Turns of the trial. With five, a worker that started beside other work took the slower library,
#: for good and an eighth of the rate. A large model's turns are fewer: they are long.
_FEWEST_TRIALS: Final = 5
_TRIALS: Final = 15
_TRIALS_S: Final = 0.3

#: What fewer bits must gain, and the weights of the largest layer from which on they may: all of
#: it is lost on attention and on smaller layers.
_WORTH_ROUNDING: Final = 1.25
_WORTH_ROUNDING_WEIGHTS: Final = 1 << 17

#: A linear layer and the activation behind it, as families call them.
_LINEAR_AND_ACTIVATION: Final = (("dense", "intermediate_act_fn"), ("lin1", "activation"))


def choose_kernel(model: nn.Module, dtypes: Sequence[torch.dtype]) -> tuple[Kernel, torch.dtype]:
    """Time the ways to multiply, on the largest linear layer of the model.

    Args:
        dtypes: The first one is taken unless another is clearly faster.
    """
    linears = _linears(model)
    if not linears:
        return "torch", dtypes[0]
    parent, name, largest = max(linears, key=lambda each: each[2].weight.numel())
    has_gelu = _gelu_behind(parent, name) is not None
    if largest.weight.numel() < _WORTH_ROUNDING_WEIGHTS:
        dtypes = dtypes[:1]
    with torch.inference_mode():
        trials = {
            (kernel, dtype): trial
            for dtype in dtypes
            for kernel, trial in _trials(largest, dtype, has_gelu=has_gelu)
        }
        # In turns, so that a busy machine slows down all of them.
        times_s: list[dict[tuple[Kernel, torch.dtype], float]] = []
        until_s = time.monotonic() + _TRIALS_S
        while len(times_s) < _FEWEST_TRIALS or (
            len(times_s) < _TRIALS and time.monotonic() < until_s
        ):
            times_s.append({way: _time_s(trial) for way, trial in trials.items()})

    def least_s(way: tuple[Kernel, torch.dtype]) -> float:
        handicap = 1.0 if way[1] is dtypes[0] else _WORTH_ROUNDING
        return handicap * min(each[way] for each in times_s)

    return min(trials, key=least_s)


def _trials(
    like: nn.Linear, dtype: torch.dtype, *, has_gelu: bool
) -> list[tuple[Kernel, Callable[[], object]]]:
    """What multiplies layers of this shape here, and computes the activation behind them."""
    linear = nn.Linear(like.in_features, like.out_features, dtype=dtype)
    usual = nn.Sequential(linear, nn.GELU()) if has_gelu else linear
    states = torch.randn(_TRIAL_TOKENS, like.in_features, dtype=dtype)
    ways: list[tuple[Kernel, Callable[[], object]]] = [("torch", partial(usual, states))]
    try:
        prepacked = PrepackedLinear(linear, then="gelu" if has_gelu else "none")
        prepacked(states)
    except (AttributeError, RuntimeError):  # another torch, or one without oneDNN
        return ways
    return [*ways, ("onednn", partial(prepacked, states))]


def _time_s(trial: Callable[[], object]) -> float:
    started = time.perf_counter()
    trial()
    return time.perf_counter() - started


class PrepackedLinear(nn.Module):
    """`nn.Linear` with its weights in the order that oneDNN's kernels read.

    Args:
        linear: On the CPU. Its weights are copied.
        then: What to do with the product before it leaves the registers: "none" or "gelu".
    """

    def __init__(self, linear: nn.Linear, *, then: str = "none") -> None:
        super().__init__()
        # The operators that torch's own compiler calls for frozen weights.
        reorder: Any = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
        self._multiply: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        self._weight = reorder(linear.weight.detach())
        self._bias: torch.Tensor | None = linear.bias
        self._then = then

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """As `nn.Linear`."""
        product: torch.Tensor = self._multiply(
            states, self._weight, self._bias, self._then, [], "none"
        )
        return product


class Prepacked:
    """Gives the layers of a model oneDNN's linears; `undo` gives them their own again."""

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
        """Give the model back as it was."""
        for parent, name, module in self._replaced:
            setattr(parent, name, module)

    def _replace(self, parent: nn.Module, name: str, by: nn.Module) -> None:
        self._replaced.append((parent, name, getattr(parent, name)))
        setattr(parent, name, by)


def _linears(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """The linear layers of the model's repeated layers: whose they are, and by which name."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    # Once each: lists may stand in lists.
    parents = dict.fromkeys(parent for layers in lists for parent in layers.modules())
    return [
        (parent, name, child)
        for parent in parents
        for name, child in parent.named_children()
        if type(child) is nn.Linear
    ]


def _gelu_behind(parent: nn.Module, linear: str) -> str | None:
    """The name of the exact GELU that follows, which oneDNN computes on the way."""
    for linear_name, activation_name in _LINEAR_AND_ACTIVATION:
        activation = getattr(parent, activation_name, None)
        if linear == linear_name and isinstance(activation, GELUActivation):
            return activation_name
    return None
