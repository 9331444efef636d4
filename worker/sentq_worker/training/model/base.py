"""Load the base model and its tokenizer, from which a training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentq_worker.training.errors import TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["load_model", "load_tokenizer", "longest_tokens", "remove_limits"]

#: Tokenizers without a limit report 10^30.
_NO_LIMIT = 1_000_000

#: Saved options of a tokenizer that record truncation, padding and origin of its base.
_BASE_OPTIONS = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "stride",
    "truncation_strategy",
)

#: Names of the dropouts in the configurations of the model families.
_HIDDEN_DROPOUTS = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder or a Hub model.

    Raises:
        TrainingOptionsError: There is no tokenizer, or it has no padding token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise _cannot_load(base, "tokenizer") from error
    if tokenizer.pad_token_id is None:
        raise TrainingOptionsError(f"the tokenizer of {base} has no padding token: set one first")
    remove_limits(tokenizer)
    return tokenizer


def load_model(
    base: str,
    *,
    labels: Sequence[str],
    attention: str | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
) -> PreTrainedModel:
    """Load float32 weights with a head for these labels.

    A head of another shape is replaced by a new one. Its weights come from torch's global
    generator: seed the generator first.

    Args:
        attention: The name of an attention implementation in transformers; None is its default.
        dropout: Replaces the dropout of the base, if given.
        attention_dropout: The same for the dropout of attention.

    Raises:
        TrainingOptionsError: The base is missing, or is not for sequence classification.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(base)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        config.problem_type = "single_label_classification"
        _set_dropout(config, dropout, attention_dropout)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError) as error:
        raise _cannot_load(base, "sequence-classification model") from error
    return model


def longest_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the longest input in tokens, special tokens included; None without a limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        # Models like RoBERTa number positions from the padding token's id + 1.
        embeddings = getattr(model.base_model, "embeddings", None)
        offset = getattr(embeddings, "padding_idx", None)
        positions -= 0 if offset is None else offset + 1
    known = [limit for limit in (positions, tokenizer.model_max_length) if limit is not None]
    longest = min(known)
    return None if longest > _NO_LIMIT else longest


def remove_limits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Remove truncation and padding from a tokenizer, but keep its `model_max_length`.

    Sentence-transformers store truncation and padding to 128 tokens in tokenizer.json, and
    transformers copies both into each tokenizer that it saves.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    for name in _BASE_OPTIONS:
        tokenizer.init_kwargs.pop(name, None)


def _set_dropout(
    config: PretrainedConfig, dropout: float | None, attention_dropout: float | None
) -> None:
    for names, value in ((_HIDDEN_DROPOUTS, dropout), (_ATTENTION_DROPOUTS, attention_dropout)):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)


def _cannot_load(base: str, part: str) -> TrainingOptionsError:
    return TrainingOptionsError(
        f"cannot load a {part} from --base {base}: give a folder that save_pretrained wrote, "
        "or a Hub model id while the Hub can be reached"
    )
