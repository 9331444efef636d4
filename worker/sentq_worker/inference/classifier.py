"""A sequence-classification model, as the ways to run it see it."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import nn

__all__ = ["Classifier", "ClassifierConfig"]


class ClassifierConfig(Protocol):
    """What is read of a model's config.json."""

    @property
    def model_type(self) -> str: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def pad_token_id(self) -> int | None: ...

    @property
    def id2label(self) -> dict[int, str]: ...

    @property
    def num_labels(self) -> int: ...

    @property
    def problem_type(self) -> str | None: ...


class Classifier(nn.Module):
    """The part of Transformers' `PreTrainedModel` that is used here.

    The models of Transformers have all of it, and are passed as one of these. `PlainBert` is one.
    A call takes `input_ids`, and `attention_mask` or `position_ids` and `sentq_layout` (see
    `packed`); what it returns has `logits`, shape (windows, labels).
    """

    #: Whether attention is computed by the layout of a packed row where a call has one. Models of
    #: Transformers are told to do so.
    takes_layout: ClassVar[bool] = False

    config: ClassifierConfig

    @property
    def base_model(self) -> nn.Module:
        """The model without its head: its first list of modules is that of its layers."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
