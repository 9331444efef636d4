"""Read a plain BERT classifier from its files, if they hold nothing but what is known here.

Transformers makes a tokenizer of its own for some classes, renames weights of old files, follows
entries of a config.json, and so on. So files are refused if they hold anything else than such a
model's usual entries, and Transformers reads them.

    config.json              the entries of `PlainBertConfig`
    model.safetensors        the only file of weights, with all of the model's and no others
    tokenizer_config.json    the entries of `_TokenizerConfig`
    tokenizer.json           what Transformers would use, or what its BertTokenizer would make
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt
from safetensors.torch import load_file
from tokenizers import Tokenizer

from sentq_worker.inference.loading.loaded import LoadedModel
from sentq_worker.inference.loading.plain_bert import PlainBert, PlainBertConfig

__all__ = ["NotPlain", "load_plain"]

#: Files of older versions of Transformers, which add to tokenizer_config.json.
_OLD_TOKENIZER_FILES: Final = ("special_tokens_map.json", "added_tokens.json")

#: Its own, of five roles.
_TOKENS_OF_BERT: Final = 5

#: The length of a word from which on WordPiece takes it as unknown.
_WORDPIECE_MAX_CHARS: Final = 100


class NotPlain(Exception):
    """These files are for Transformers to read. The message says why."""


class _TokenizerConfig(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tokenizer_class: Literal["PreTrainedTokenizerFast", "TokenizersBackend", "BertTokenizer"]
    model_max_length: PositiveInt
    unk_token: str | None = None
    pad_token: str | None = None
    cls_token: str | None = None
    sep_token: str | None = None
    mask_token: str | None = None

    do_lower_case: bool = True
    tokenize_chinese_chars: bool = True
    strip_accents: bool | None = None

    # Without effect on tokens, or refused if they have one.
    backend: Literal["tokenizers"] = "tokenizers"
    is_local: bool = False
    local_files_only: bool = False
    clean_up_tokenization_spaces: bool = False
    model_input_names: list[str] = []
    add_prefix_space: Literal[False] = False
    extra_special_tokens: tuple[()] = ()
    split_special_tokens: Literal[False] = False

    @property
    def special_tokens(self) -> set[str]:
        tokens = {self.unk_token, self.pad_token, self.cls_token, self.sep_token, self.mask_token}
        return {token for token in tokens if token is not None}


def load_plain(folder: Path) -> LoadedModel:
    """Load a plain BERT classifier to the CPU, in the dtype of its file and for inference.

    The weights are mapped into memory, and not copied.

    Raises:
        NotPlain: It is another model, or cannot be read.
    """
    try:
        return _load(folder)
    except NotPlain:
        raise
    except Exception as error:
        # Transformers reports what is wrong. tokenizers raises plain exceptions.
        raise NotPlain(f"{type(error).__name__}: {error}") from error


def _load(folder: Path) -> LoadedModel:
    config = PlainBertConfig.model_validate_json((folder / "config.json").read_bytes())
    if sorted(config.id2label) != list(range(config.num_labels)):
        raise NotPlain("its labels are not numbered from 0 on")
    if config.num_labels == 1 and config.problem_type == "single_label_classification":
        raise NotPlain("one label cannot be the single one of several")
    if config.hidden_size % config.num_attention_heads:
        raise NotPlain("its heads are not of equal size")
    tokenizer, max_tokens = _load_tokenizer(folder)
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    if not all(weight.is_floating_point() for weight in weights.values()):
        raise NotPlain("its weights are no floating-point numbers")
    return LoadedModel(PlainBert(config, weights), tokenizer, max_tokens)


def _load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    if found := [name for name in _OLD_TOKENIZER_FILES if (folder / name).exists()]:
        raise NotPlain(f"it has {found[0]}")
    config = _TokenizerConfig.model_validate_json((folder / "tokenizer_config.json").read_bytes())
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer: Tokenizer = Tokenizer.from_str(text)
    added = tokenizer.get_added_tokens_decoder().values()
    if missing := config.special_tokens - {token.content for token in added if token.special}:
        raise NotPlain(f"Transformers adds {sorted(missing)} to its tokenizer")
    if tokenizer.post_processor is None:
        raise NotPlain("Transformers adds special tokens to its texts")
    if config.tokenizer_class == "BertTokenizer" and not _is_as_made(json.loads(text), config):
        raise NotPlain("BertTokenizer makes another tokenizer than tokenizer.json has")
    return tokenizer, config.model_max_length


def _is_as_made(document: dict[str, Any], config: _TokenizerConfig) -> bool:
    """Return whether a tokenizer.json holds what Transformers' BertTokenizer makes of its
    vocabulary and its configuration."""
    ids = {token["content"]: token["id"] for token in document["added_tokens"]}
    words = {**document["model"], "vocab": None}
    return (
        len(ids) == _TOKENS_OF_BERT
        and set(ids) == config.special_tokens
        and all(_is_usual(token) for token in document["added_tokens"])
        and words
        == {
            "type": "WordPiece",
            "unk_token": config.unk_token,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _WORDPIECE_MAX_CHARS,
            "vocab": None,
        }
        and document["normalizer"]
        == {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.tokenize_chinese_chars,
            "strip_accents": config.strip_accents,
            "lowercase": config.do_lower_case,
        }
        and document["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and document["post_processor"]["type"] == "TemplateProcessing"
        and document["post_processor"]["single"]
        == [
            {"SpecialToken": {"id": config.cls_token, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": config.sep_token, "type_id": 0}},
        ]
        and all(
            document["post_processor"]["special_tokens"][token]["ids"] == [ids[token]]
            for token in (config.cls_token, config.sep_token)
        )
    )


def _is_usual(token: dict[str, Any]) -> bool:
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return token["special"] and not any(token[flag] for flag in flags)
