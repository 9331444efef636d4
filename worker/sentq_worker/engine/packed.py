"""The forward pass without padding: a batch's windows one after another, as one row of tokens.

Every step of an encoder but attention treats each token alone. Attention is ours: Transformers
passes the layout of the row down to it as a keyword. The model's own modules do all the rest.

 windows ──▶ one row, sorted by length ──▶ layers ──▶ first tokens ──▶ the family's own head
              (1, T)                        (1, T, H)  (n, 1, H)         (n, labels)

Where it can, the last layer works on the first tokens only: no such head reads another one.
Whether all this gives a model's own answers is not assumed but tried: see `choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import AttentionInterface

from sentq_worker.engine.attention import attend
from sentq_worker.engine.base import Window
from sentq_worker.engine.positions import packed_positions

__all__ = ["CannotPack", "Packed"]

#: The name under which Transformers finds our attention.
_ATTENTION: Final = "sentq_packed"

#: What families call the layers that make keys and values of hidden states.
_KEY_AND_VALUE: Final = (("key", "value"), ("k_lin", "v_lin"))

#: Rows are filled up to a multiple of the first number, longer ones to one of the second. For
#: each new count oneDNN makes its kernels anew: 0.25 to 0.6 ms a shape of weights, beside
#: 0.4 to 1.2 ms for the product itself (400 tokens, bf16).
_ROW_STEP: Final = 16
_LONG_ROW_STEP: Final = 64
_LONG_ROW: Final = 512

#: What attention may be told and need not heed: a model in use drops nothing out.
_OF_NO_CONCERN: Final = {"dropout", "position_ids", "use_cache"}


class CannotPack(Exception):
    """The model is built in a way that packing does not know."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Windows of equal length: tokens `begin` to `end` of the row, windows `first` to `last`."""

    begin: int
    end: int
    first: int
    last: int


@dataclass(slots=True)
class _Layout:
    """What lies where in the row."""

    groups: list[_Group]
    #: Where each window's first token is, and some first tokens more as filling, shape (n,).
    begins: torch.Tensor
    #: The last layer's input of all tokens, (1, T, H), once it works on first tokens only.
    hidden: torch.Tensor | None = None


class Packed:
    """Turns a model into one that reads packed windows; `undo` turns it back.

    Args:
        model: A sequence-classification model of Transformers.
        last_layer_whole: Compute the last layer for all tokens, as models need whose layers
            normalise before attention.

    Raises:
        CannotPack: The model's parts are not where they are expected.
    """

    def __init__(self, model: Any, *, last_layer_whole: bool = False) -> None:
        if not getattr(model, "_supports_attention_backend", False):
            raise CannotPack("attention is its own")
        self._model = model
        self._usual_attention = model.config._attn_implementation  # noqa: SLF001 - no public name
        layers, encoder = _layers(model)
        self._hooks = [encoder.register_forward_hook(_windows_as_rows, with_kwargs=True)]
        if not last_layer_whole:
            before_last = layers[-1].register_forward_pre_hook(_keep_first, with_kwargs=True)
            self._hooks.append(before_last)
        model.set_attn_implementation(_ATTENTION)

    def undo(self) -> None:
        """Give the model back as it was."""
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._usual_attention)

    def logits(self, batch: Sequence[Window]) -> torch.Tensor:
        """Shape (windows, labels), in the order of the batch."""
        order = sorted(range(len(batch)), key=lambda index: len(batch[index].token_ids))
        lengths = [len(batch[index].token_ids) for index in order]
        ids = torch.tensor([token for index in order for token in batch[index].token_ids])
        positions = packed_positions(self._model.config, ids, torch.tensor(lengths))
        device = self._model.device
        logits: torch.Tensor = self._model(
            input_ids=_filled(ids).unsqueeze(0).to(device),  # (1, T)
            position_ids=_filled(positions).unsqueeze(0).to(device),  # (1, T)
            sentq_layout=_layout(lengths, device),
        ).logits
        if logits.shape[0] != _filled_length(len(batch)):
            raise CannotPack(f"{logits.shape[0]} rows for {len(batch)} windows")
        return logits[torch.tensor(order).argsort().to(logits.device)]


def _filled_length(length: int) -> int:
    step = _ROW_STEP if length <= _LONG_ROW else _LONG_ROW_STEP
    return -(-length // step) * step


def _filled(row: torch.Tensor) -> torch.Tensor:
    """Zeros behind a row, which no window attends to and nobody reads."""
    return pad(row, (0, _filled_length(len(row)) - len(row)))


def _layers(model: Any) -> tuple[nn.ModuleList, nn.Module]:
    """The list of the model's layers, and the module that calls them one after another."""
    for module in model.base_model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                return child, module
    raise CannotPack("no list of layers")


def _layout(lengths: Sequence[int], device: torch.device) -> _Layout:
    """Of windows in ascending order of their lengths."""
    groups: list[_Group] = []
    begins: list[int] = []
    position = 0
    for index, length in enumerate(lengths):
        begins.append(position)
        if not index or length != lengths[index - 1]:
            groups.append(_Group(position, position + length, index, index + 1))
        else:
            groups[-1] = _Group(groups[-1].begin, position + length, groups[-1].first, index + 1)
        position += length
    return _Layout(groups, _filled(torch.tensor(begins)).to(device))


def _keep_first(
    _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before the last layer: hand it the first tokens, and keep all others for its attention."""
    layout: _Layout = kwargs["sentq_layout"]
    layout.hidden = args[0]
    return (args[0][:, layout.begins], *args[1:]), kwargs  # (1, n, H)


def _windows_as_rows(
    _encoder: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """After the layers: a row a window, so that the family's head finds its first token."""
    layout: _Layout = kwargs["sentq_layout"]
    hidden = output.last_hidden_state  # (1, T, H), or (1, n, H) after `_keep_first`
    if layout.hidden is None:
        hidden = hidden[:, layout.begins]
    output.last_hidden_state = hidden.transpose(0, 1)  # (n, 1, H)
    return output


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sentq_layout: _Layout,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each window; see `AttentionInterface` of Transformers.

    `query`, `key` and `value` have the shape (1, heads, T, d), the result (1, T, heads, d).
    """
    _refuse_other_kinds(module, attention_mask, options)
    groups = sentq_layout.groups
    spans = [(group.begin, group.end) for group in groups]
    if sentq_layout.hidden is not None:
        key, value = _keys_and_values(module, sentq_layout.hidden, query)
        spans = [(group.first, group.last) for group in groups]
    attended = query.new_empty(query.shape[2], query.shape[1], query.shape[3])  # (T, heads, d)
    for group, (begin, end) in zip(groups, spans, strict=True):
        attend(
            query[:, :, begin:end],
            key[:, :, group.begin : group.end],
            value[:, :, group.begin : group.end],
            windows=group.last - group.first,
            scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
            out=attended[begin:end],
        )
    attended[spans[-1][1] :] = 0  # filling
    return attended.unsqueeze(0), None


def _refuse_other_kinds(
    module: nn.Module, attention_mask: torch.Tensor | None, options: dict[str, Any]
) -> None:
    """Causal, sliding, biased: whatever is not plain attention within the window."""
    said = {name for name, option in options.items() if not (option is None or option is False)}
    is_causal = getattr(module, "is_causal", False)
    if is_causal or attention_mask is not None or said - _OF_NO_CONCERN:
        raise CannotPack(f"attention of a kind of its own: {type(module).__name__}")


def _keys_and_values(
    module: nn.Module, hidden: torch.Tensor, query: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all tokens, for queries of the first ones; each (1, heads, T, d)."""
    for key_name, value_name in _KEY_AND_VALUE:
        if hasattr(module, key_name):
            shape = (1, hidden.shape[1], query.shape[1], query.shape[3])
            key = getattr(module, key_name)(hidden).view(shape).transpose(1, 2)
            value = getattr(module, value_name)(hidden).view(shape).transpose(1, 2)
            return key, value
    raise CannotPack(f"{type(module).__name__} makes keys and values in an unknown way")


AttentionInterface.register(_ATTENTION, _attention)
