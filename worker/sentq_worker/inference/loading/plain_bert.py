"""BERT for sequence classification, in torch alone.

The parts and parameters have the names that they have in Transformers, so that its files fit, and
so do the ways to run a model (`packed`, `trials`). There is no dropout: this is for inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from sentq_worker.inference.classifier import Classifier
from sentq_worker.inference.packed import Layout, packed_attention

__all__ = ["PlainBert", "PlainBertConfig"]


class PlainBertConfig(BaseModel):
    """The config.json of a BERT classifier that has nothing uncommon. Any other is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())

    model_type: Literal["bert"]
    architectures: tuple[Literal["BertForSequenceClassification"]]
    hidden_act: Literal["gelu"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    max_position_embeddings: PositiveInt
    type_vocab_size: PositiveInt
    layer_norm_eps: PositiveFloat
    pad_token_id: int
    id2label: dict[int, str]
    problem_type: (
        Literal["regression", "single_label_classification", "multi_label_classification"] | None
    ) = None

    # With another value of these the model would be another one.
    position_embedding_type: Literal["absolute"] = "absolute"
    is_decoder: Literal[False] = False
    add_cross_attention: Literal[False] = False
    is_encoder_decoder: Literal[False] = False
    chunk_size_feed_forward: Literal[0] = 0

    # Without effect on inference.
    attention_probs_dropout_prob: float = 0.0
    hidden_dropout_prob: float = 0.0
    classifier_dropout: float | None = None
    initializer_range: float = 0.0
    gradient_checkpointing: bool = False
    use_cache: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    dtype: str | None = None
    torch_dtype: str | None = None
    label2id: dict[str, int] = {}
    transformers_version: str = ""

    @property
    def num_labels(self) -> int:
        return len(self.id2label)


@dataclass(slots=True)
class _LastStates:
    last_hidden_state: torch.Tensor


@dataclass(frozen=True, slots=True)
class _ClassifierOutput:
    logits: torch.Tensor


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Do nothing: weights come from a file. Random ones would import torch's compiler."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """See `_Linear`."""


class PlainBert(Classifier):
    """`BertForSequenceClassification` of Transformers. See `Classifier`.

    Args:
        config: Its configuration.
        weights: All of its parameters, by name. They are not copied.

    Raises:
        RuntimeError: Other parameters are needed, or have another shape.
    """

    takes_layout: ClassVar[bool] = True

    def __init__(self, config: PlainBertConfig, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.config: PlainBertConfig = config
        with torch.device("meta"):
            self.bert = _Bert(config)
            self.classifier = _Linear(config.hidden_size, config.num_labels)
        self.load_state_dict(weights, assign=True)
        self.eval().requires_grad_(requires_grad=False)

    @property
    def base_model(self) -> nn.Module:
        return self.bert

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        sentq_layout: Layout | None = None,
    ) -> _ClassifierOutput:
        pooled = self.bert(input_ids, attention_mask, position_ids, sentq_layout)
        return _ClassifierOutput(self.classifier(pooled))


class _Bert(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.pooler = _Pooler(config)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        sentq_layout: Layout | None,
    ) -> torch.Tensor:
        states = self.embeddings(input_ids, position_ids)
        seen = None if attention_mask is None else attention_mask[:, None, None].bool()
        encoded = self.encoder(states, seen, sentq_layout=sentq_layout)
        pooled: torch.Tensor = self.pooler(encoded.last_hidden_state)
        return pooled


class _Embeddings(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.word_embeddings = _Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = _Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = _Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        # All tokens are of the first type: a text is no pair of sentences.
        states = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        normed: torch.Tensor = self.LayerNorm(states + self.position_embeddings(positions))
        return normed


class _Encoder(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self, states: torch.Tensor, seen: torch.Tensor | None, *, sentq_layout: Layout | None
    ) -> _LastStates:
        for layer in self.layer:
            states = layer(states, seen, sentq_layout=sentq_layout)
        return _LastStates(states)


class _Layer(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _AddAndNorm(config.intermediate_size, config)

    def forward(
        self, states: torch.Tensor, seen: torch.Tensor | None, *, sentq_layout: Layout | None
    ) -> torch.Tensor:
        attended = self.attention(states, seen, sentq_layout)
        normed: torch.Tensor = self.output(self.intermediate(attended), attended)
        return normed


class _Attention(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _AddAndNorm(config.hidden_size, config)

    def forward(
        self, states: torch.Tensor, seen: torch.Tensor | None, layout: Layout | None
    ) -> torch.Tensor:
        normed: torch.Tensor = self.output(self.self(states, seen, layout), states)
        return normed


class _SelfAttention(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self._heads = config.num_attention_heads
        self.query = _Linear(config.hidden_size, config.hidden_size)
        self.key = _Linear(config.hidden_size, config.hidden_size)
        self.value = _Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, states: torch.Tensor, seen: torch.Tensor | None, layout: Layout | None
    ) -> torch.Tensor:
        query, key, value = (
            project(states).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )  # (B, heads, T, d)
        if layout is None:
            attended = scaled_dot_product_attention(query, key, value, seen).transpose(1, 2)
        else:
            attended, _ = packed_attention(self, query, key, value, None, sentq_layout=layout)
        return attended.flatten(-2)  # (B, T, H)


class _Intermediate(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.dense = _Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = nn.GELU()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.intermediate_act_fn(self.dense(states))
        return activated


class _AddAndNorm(nn.Module):
    """A product, added to what the block before it had as its input."""

    def __init__(self, width: int, config: PlainBertConfig) -> None:
        super().__init__()
        self.dense = _Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.LayerNorm(self.dense(states) + before)
        return normed


class _Pooler(nn.Module):
    def __init__(self, config: PlainBertConfig) -> None:
        super().__init__()
        self.dense = _Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(states[:, 0]))
