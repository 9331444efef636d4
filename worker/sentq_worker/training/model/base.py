"""The model and tokenizer that a training starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sentq_worker.training.errors import TrainingOptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["forget_limits", "load_model", "load_tokenizer", "longest_tokens"]

#: Tokenizers that know no limit say 10^30.
_NO_LIMIT = 1_000_000

#: What a tokenizer saves of the cutting and padding of its base, and of where that came from.
_BAKED_IN = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "stride",
    "truncation_strategy",
)

#: What the families call their dropouts.
_HIDDEN_DROPOUTS = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder or a Hub model.

    Raises:
        TrainingOptionsError: there is none, or it has no padding token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise _no_base(base, "tokenizer") from error
    if tokenizer.pad_token_id is None:
        raise TrainingOptionsError(f"the tokenizer of {base} has no padding token: set one first")
    forget_limits(tokenizer)
    return tokenizer


def load_model(
    base: str,
    *,
    labels: Sequence[str],
    attention: str | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
) -> PreTrainedModel:
    """Load float32 weights with a head for these labels; a head that does not fit begins anew.

    A new head takes its weights from torch's global generator: seed it first. `attention` is an
    implementation's name in transformers, None for its choice. The dropouts replace the base's.

    Raises:
        TrainingOptionsError: the base is missing, or has no sequence classification.
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
        raise _no_base(base, "sequence-classification model") from error
    return model


def longest_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tell the longest input in tokens, special ones included; None if there is no limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa and its kin count positions from behind the padding token's number.
        embeddings = getattr(model.base_model, "embeddings", None)
        offset = getattr(embeddings, "padding_idx", None)
        positions -= 0 if offset is None else offset + 1
    known = [limit for limit in (positions, tokenizer.model_max_length) if limit is not None]
    longest = min(known)
    return None if longest > _NO_LIMIT else longest


def forget_limits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Take cutting and padding out of a tokenizer; its `model_max_length` stays.

    Sentence-transformers bake a cut at 128 tokens and padding to 128 into tokenizer.json, and
    transformers carries both into whatever it saves.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    for name in _BAKED_IN:
        tokenizer.init_kwargs.pop(name, None)


def _set_dropout(config: Any, dropout: float | None, attention_dropout: float | None) -> None:
    for names, value in ((_HIDDEN_DROPOUTS, dropout), (_ATTENTION_DROPOUTS, attention_dropout)):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)


def _no_base(base: str, part: str) -> TrainingOptionsError:
    return TrainingOptionsError(
        f"cannot load a {part} from --base {base}: give a folder that save_pretrained wrote, "
        "or a Hub model id while the Hub can be reached"
    )
