"""Small random classifiers of many model families, with the tokenizer of the tiny BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
import transformers

from tests.support.models.tiny import LABELS, make_tiny_model

__all__ = ["PACKED", "PADDED", "make_family_model"]

#: The tokens of a window. Models have two more positions, for families that skip some.
_WINDOW_TOKENS: Final = 64

_USUAL: Final = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": _WINDOW_TOKENS + 2,
    "initializer_range": 0.2,
}
_DISTILBERT: Final = {
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": _WINDOW_TOKENS,
    "initializer_range": 0.2,
}
_GPT2: Final = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": _WINDOW_TOKENS,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
}
_LLAMA: Final = _USUAL | {"bos_token_id": None, "eos_token_id": None}

#: Families that support packed windows.
PACKED: Final[dict[str, dict[str, Any]]] = {
    "Albert": _USUAL | {"embedding_size": 16},
    "Bert": _USUAL,
    "Camembert": _USUAL,
    "Data2VecText": _USUAL,
    "DistilBert": _DISTILBERT,
    "Electra": _USUAL | {"embedding_size": 16},
    "Ernie": _USUAL,
    "Roberta": _USUAL,
    "RobertaPreLayerNorm": _USUAL,
    "XLMRoberta": _USUAL,
    "XLMRobertaXL": _USUAL,
}

#: Families with a custom, causal or sliding attention, whose windows are padded.
PADDED: Final[dict[str, dict[str, Any]]] = {
    "DebertaV2": _USUAL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "GPT2": _GPT2,
    "Llama": _LLAMA,
    "MPNet": _USUAL,
    "ModernBert": _USUAL
    | {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    | {"local_attention": 8},
}


def make_family_model(folder: Path, family: str, **options: Any) -> Path:
    """Write a random classifier of `family` to `folder`, with the same weights each time."""
    make_tiny_model(folder, max_positions=_WINDOW_TOKENS)
    # Without BERT's token types, which have another meaning in GPT-2.
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=_WINDOW_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    config = getattr(transformers, f"{family}Config")(
        **_of_the_tokenizer(tokenizer) | (PACKED | PADDED)[family] | options
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


def _of_the_tokenizer(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
