"""The forward pass without padding: a batch's windows one after another, as one row of tokens.

Every step of an encoder but attention treats each token alone. Attention is ours, by whatever suits
the device (`grouped`, `varlen`): Transformers passes the layout of the row down to it as a keyword.
The model's own modules do all the rest.

 windows ──▶ one row, sorted by length ──▶ layers ──▶ first tokens ──▶ the family's own head
              (1, T)                        (1, T, H)  (n, 1, H)         (n, labels)

Where it can, the last layer works on the first tokens only: no such head reads another one.
Whether all this gives a model's own answers is not assumed but tried: see `choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import AttentionInterface

from sentq_worker.engine.base import Window
from sentq_worker.inference.positions import packed_positions

__all__ = ["Attention", "CannotPack", "Packed", "Windows"]

#: The name under which Transformers finds our attention.
_ATTENTION: Final = "sentq_packed"

#: What families call the layers that make keys and values of hidden states.
_KEY_AND_VALUE: Final = (("key", "value"), ("k_lin", "v_lin"))

#: What attention may be told and need not heed: a model in use drops nothing out.
_OF_NO_CONCERN: Final = {"dropout", "position_ids", "use_cache"}


class CannotPack(Exception):
    """The model is built in a way that packing does not know."""


class Windows(Protocol):
    """The windows of one row."""

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        first_only: bool,
    ) -> torch.Tensor:
        """Let each window attend to itself.

        Args:
            query: Shape (1, heads, T, d), of all tokens, or of the windows' first ones.
            key: Shape (1, heads, T, d), of all tokens.
            value: As `key`.
            scale: What products are multiplied with.
            first_only: Whether queries are of first tokens only.

        Returns:
            Shape (T, heads, d), as many as queries.
        """
        ...


class Attention(Protocol):
    """How windows of packed rows attend to themselves."""

    def filled(self, count: int) -> int:
        """How many tokens, or windows, to compute where there are so many."""
        ...

    def windows(self, lengths: Sequence[int], begins: torch.Tensor) -> Windows:
        """Those of a row.

        Args:
            lengths: Of each window, ascending.
            begins: Where each window's first token is, on the model's device, shape (n,), and
                some zeros more where windows are filled up.
        """
        ...


@dataclass(slots=True)
class _Layout:
    """What lies where in the row."""

    windows: Windows
    #: Where each window's first token is, and some first tokens more as filling, shape (n,).
    begins: torch.Tensor
    #: The last layer's input of all tokens, (1, T, H), once it works on first tokens only.
    hidden: torch.Tensor | None = None


class Packed:
    """Turns a model into one that reads packed windows; `undo` turns it back.

    Args:
        model: A sequence-classification model of Transformers.
        attention: How windows attend to themselves.
        last_layer_whole: Compute the last layer for all tokens, as models need whose layers
            normalise before attention.

    Raises:
        CannotPack: The model's parts are not where they are expected.
    """

    def __init__(self, model: Any, attention: Attention, *, last_layer_whole: bool = False) -> None:
        if not getattr(model, "_supports_attention_backend", False):
            raise CannotPack("attention is its own")
        self._model = model
        self._attention = attention
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
        spans = torch.tensor(lengths)
        numbers = (
            self._filled(ids),
            self._filled(packed_positions(self._model.config, ids, spans)),
            self._filled(spans.cumsum(0) - spans),
            torch.tensor(order).argsort(),
        )
        # In one copy, ahead of all else: a copy to a GPU waits for whatever it computes.
        sent = torch.cat(numbers).to(self._model.device)
        row, positions, begins, places = torch.split(sent, [len(each) for each in numbers])
        logits: torch.Tensor = self._model(
            input_ids=row.unsqueeze(0),  # (1, T)
            position_ids=positions.unsqueeze(0),  # (1, T)
            sentq_layout=_Layout(self._attention.windows(lengths, begins), begins),
        ).logits
        if logits.shape[0] != len(begins):
            raise CannotPack(f"{logits.shape[0]} rows for {len(batch)} windows")
        return logits[places]

    def _filled(self, numbers: torch.Tensor) -> torch.Tensor:
        """Zeros behind them, which no window attends to and nobody reads."""
        return pad(numbers, (0, self._attention.filled(len(numbers)) - len(numbers)))


def _layers(model: Any) -> tuple[nn.ModuleList, nn.Module]:
    """The list of the model's layers, and the module that calls them one after another."""
    for module in model.base_model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                return child, module
    raise CannotPack("no list of layers")


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
    first_only = sentq_layout.hidden is not None
    if sentq_layout.hidden is not None:
        key, value = _keys_and_values(module, sentq_layout.hidden, query)
    attended = sentq_layout.windows.attend(
        query,
        key,
        value,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        first_only=first_only,
    )
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
