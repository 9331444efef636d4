"""A tiny random BERT classifier, created at run time, so that no test needs a download.

`make_tiny_model(folder)` writes an ordinary `save_pretrained` folder: model.safetensors,
config.json and a fast lower-casing WordPiece tokenizer that knows every ASCII character.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["LABELS", "WORDS", "long_texts", "make_tiny_model"]

LABELS = ("negative", "neutral", "positive")

_WORDS = """
    good great fine nice lovely happy superb bright
    bad awful poor nasty ugly sad dreadful dull
    table paper tuesday window number station river report
    the a an of and it is was this that very so not movie film day hotel food we they
"""

#: Whole words of the vocabulary; any other ASCII text is spelled from single characters.
WORDS = tuple(_WORDS.split())
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_tiny_model(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    max_positions: int = 64,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    spread: float = 0.2,
    words: Sequence[str] = WORDS,
) -> Path:
    """Write a random `BertForSequenceClassification` of some 25,000 weights to `folder`.

    The same arguments give the same weights, and the global random state stays untouched.
    `spread` is the deviation of the initial weights: the default is ten times BERT's own, so
    that different texts get clearly different scores. `max_positions` includes [CLS] and [SEP].

    Returns `folder`, created if missing.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    vocabulary = _vocabulary(words)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_positions,
        initializer_range=spread,
        pad_token_id=vocabulary["[PAD]"],
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_positions)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def long_texts() -> list[str]:
    """Return the largest texts that fit into one job: about two seconds of the tiny model.

    All differ, because equal texts are scored once.
    """
    return [f"{number} {'a ' * 49_000}" for number in range(10)]


def _vocabulary(words: Sequence[str]) -> dict[str, int]:
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*_SPECIAL, *characters, *(f"##{one}" for one in characters), *words]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
