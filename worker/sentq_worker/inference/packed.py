"""The forward pass without padding: a batch's windows one after another, as one row of tokens.

Every step of an encoder except attention treats each token alone. Attention is computed here, by
the code that suits the device (`attention_cpu`, `attention_cuda`): Transformers passes the layout
of the row down to it as a keyword. The model's own modules do all the rest.

 windows ──▶ one row, sorted by length ──▶ layers ──▶ first tokens ──▶ the family's own head
              (1, T)                        (1, T, H)  (n, 1, H)         (n, labels)

If possible, the last layer works on the first tokens only: such a head reads no other token. That
all this gives a model's own logits is not assumed but shown by a trial: see `trials`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import torch
from torch import nn
from torch.nn.functional import pad

from sentq_worker.engine.base import Window
from sentq_worker.inference.classifier import Classifier
from sentq_worker.inference.positions import packed_positions

__all__ = [
    "CannotPack",
    "Layout",
    "PackedForward",
    "PackedWindows",
    "WindowAttention",
    "packed_attention",
]

#: The name under which Transformers finds the attention of this module.
_ATTENTION: Final = "sentq_packed"

#: The families' names of the layers that make keys and values of hidden states.
_KEY_AND_VALUE: Final = (("key", "value"), ("k_lin", "v_lin"))

#: Options of attention that have no effect here: in inference there is no dropout.
_IGNORED_OPTIONS: Final = {"dropout", "position_ids", "use_cache"}


class CannotPack(Exception):
    """The model has a structure that packing does not support."""


class PackedWindows(Protocol):
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
        """Compute the attention within each window.

        Args:
            query: Shape (1, heads, T, d), of all tokens, or of the windows' first ones.
            key: Shape (1, heads, T, d), of all tokens.
            value: As `key`.
            scale: The factor of the products.
            first_only: Whether queries are of first tokens only.

        Returns:
            Shape (T, heads, d), as many as queries.
        """
        ...


class WindowAttention(Protocol):
    """The attention of packed rows on a kind of device."""

    def rounded_up(self, count: int) -> int:
        """Return how many tokens, or windows, to compute for a count of them."""
        ...

    def prepare(self, lengths: Sequence[int], starts: torch.Tensor) -> PackedWindows:
        """Return the windows of a row.

        Args:
            lengths: The tokens of each window, ascending.
            starts: The position of each window's first token, on the model's device, shape (n,),
                and some zeros more if the count of windows is rounded up.
        """
        ...


@dataclass(slots=True)
class Layout:
    """The positions of the windows in the row. A model passes it from layer to layer."""

    windows: PackedWindows
    #: The position of each window's first token, and zeros that round up the count, shape (n,).
    starts: torch.Tensor
    #: The last layer's input of all tokens, (1, T, H), once it works on first tokens only.
    hidden: torch.Tensor | None = None


class _EncoderOutput(Protocol):
    """What a model's encoder returns."""

    last_hidden_state: torch.Tensor


class PackedForward:
    """Makes a model read packed windows; `undo` restores it. See `Forward` in `equivalence`.

    Args:
        model: The model.
        attention: How windows attend to themselves.
        last_layer_whole: Compute the last layer for all tokens, as models need whose layers
            normalise before attention.

    Raises:
        CannotPack: The model's parts are not where they are expected.
    """

    name: Final = "packed"

    def __init__(
        self,
        model: Classifier,
        attention: WindowAttention,
        *,
        last_layer_whole: bool = False,
    ) -> None:
        self._model = model
        self._attention = attention
        layers, encoder = _layers(model)
        self._restore_attention = _replace_attention(model)
        self._hooks = [encoder.register_forward_hook(_windows_as_rows, with_kwargs=True)]
        if not last_layer_whole:
            before_last = layers[-1].register_forward_pre_hook(_keep_first, with_kwargs=True)
            self._hooks.append(before_last)

    def undo(self) -> None:
        """Restore the model."""
        for hook in self._hooks:
            hook.remove()
        self._restore_attention()

    def logits(self, batch: Sequence[Window]) -> torch.Tensor:
        """Return the logits, shape (windows, labels), in the order of the batch."""
        order = sorted(range(len(batch)), key=lambda index: len(batch[index].token_ids))
        lengths = [len(batch[index].token_ids) for index in order]
        ids = torch.tensor([token for index in order for token in batch[index].token_ids])
        spans = torch.tensor(lengths)
        numbers = (
            self._rounded_up(ids),
            self._rounded_up(packed_positions(self._model.config, ids, spans)),
            self._rounded_up(spans.cumsum(0) - spans),
            torch.tensor(order).argsort(),
        )
        # In one copy and first: a copy to a GPU waits for all that the GPU computes.
        sent = torch.cat(numbers).to(self._model.device)
        row, positions, starts, places = torch.split(sent, [len(each) for each in numbers])
        logits: torch.Tensor = self._model(
            input_ids=row.unsqueeze(0),  # (1, T)
            position_ids=positions.unsqueeze(0),  # (1, T)
            sentq_layout=Layout(self._attention.prepare(lengths, starts), starts),
        ).logits
        if logits.shape[0] != len(starts):
            raise CannotPack(f"{logits.shape[0]} rows for {len(batch)} windows")
        return logits[places]

    def _rounded_up(self, numbers: torch.Tensor) -> torch.Tensor:
        """Append zeros, which no window attends to and no code reads."""
        return pad(numbers, (0, self._attention.rounded_up(len(numbers)) - len(numbers)))


def _replace_attention(model: Any) -> Callable[[], object]:
    """Let a model compute its attention here where a call has a layout; return what undoes that.

    Raises:
        CannotPack: The model computes its attention itself.
    """
    if getattr(model, "takes_layout", False):
        return lambda: None
    if not getattr(model, "_supports_attention_backend", False):
        raise CannotPack("the model computes its attention itself")
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, packed_attention)
    usual = model.config._attn_implementation  # noqa: SLF001 - it has no public name
    model.set_attn_implementation(_ATTENTION)
    return partial(model.set_attn_implementation, usual)


def _layers(model: Classifier) -> tuple[nn.ModuleList, nn.Module]:
    """Return the list of the model's layers, and the module that calls them in turn."""
    for module in model.base_model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                return child, module
    raise CannotPack("the model has no list of layers")


def _keep_first(
    _layer: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]
) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    """Before the last layer: pass the first tokens, and keep all others for its attention."""
    layout: Layout = kwargs["sentq_layout"]
    layout.hidden = args[0]
    return (args[0][:, layout.starts], *args[1:]), kwargs  # (1, n, H)


def _windows_as_rows(
    _encoder: nn.Module, _args: object, kwargs: dict[str, Any], output: _EncoderOutput
) -> _EncoderOutput:
    """After the layers: one row for each window, so that the head finds its first token."""
    layout: Layout = kwargs["sentq_layout"]
    hidden = output.last_hidden_state  # (1, T, H), or (1, n, H) after `_keep_first`
    if layout.hidden is None:
        hidden = hidden[:, layout.starts]
    output.last_hidden_state = hidden.transpose(0, 1)  # (n, 1, H)
    return output


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sentq_layout: Layout,
    scaling: float | None = None,
    **options: object,
) -> tuple[torch.Tensor, None]:
    """Compute attention within each window; see `AttentionInterface` of Transformers.

    `query`, `key` and `value` have the shape (1, heads, T, d), the result (1, T, heads, d).
    """
    _reject_other_kinds(module, attention_mask, options)
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


def _reject_other_kinds(
    module: nn.Module, attention_mask: torch.Tensor | None, options: dict[str, object]
) -> None:
    """Raise for causal, sliding or biased attention, and all else that is not plain."""
    given = {name for name, option in options.items() if not (option is None or option is False)}
    is_causal = getattr(module, "is_causal", False)
    if is_causal or attention_mask is not None or given - _IGNORED_OPTIONS:
        raise CannotPack(f"attention of another kind: {type(module).__name__}")


def _keys_and_values(
    module: nn.Module, hidden: torch.Tensor, query: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys and values of all tokens, for queries of first tokens, (1, heads, T, d) each."""
    for key_name, value_name in _KEY_AND_VALUE:
        if hasattr(module, key_name):
            shape = (1, hidden.shape[1], query.shape[1], query.shape[3])
            key = getattr(module, key_name)(hidden).view(shape).transpose(1, 2)
            value = getattr(module, value_name)(hidden).view(shape).transpose(1, 2)
            return key, value
    raise CannotPack(f"{type(module).__name__} makes keys and values in an unknown way")
